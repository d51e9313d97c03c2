//! stub
pub(crate) fn list(_: &crate::args::DataListArgs, _: &crate::args::Common, _: &crate::printer::Printer) -> anyhow::Result<()> { anyhow::bail!("later") }
pub(crate) fn show(_: &crate::args::DataShowArgs, _: &crate::args::Common, _: &crate::printer::Printer) -> anyhow::Result<()> { anyhow::bail!("later") }
