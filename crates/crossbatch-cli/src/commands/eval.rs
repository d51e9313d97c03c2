//! stub
pub(crate) fn run(_: &crate::args::EvalArgs, _: &crate::args::Common, _: &crate::printer::Printer) -> anyhow::Result<()> { anyhow::bail!("later") }
