//! stub
pub(crate) fn run(_: &crate::args::SearchArgs, _: &crate::args::Common, _: &crate::printer::Printer) -> anyhow::Result<()> { anyhow::bail!("later") }
