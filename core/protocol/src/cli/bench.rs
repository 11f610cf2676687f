//! `outcrop bench MODEL`.

use outcrop::api::Result;

use crate::cli::output::Output;
use outcrop::{Measurement, Session};

/// Measures a model and tells each measurement as it comes.
pub(super) async fn run(session: &Session, model: &str, output: &mut Output) -> Result<()> {
    let model = session.model(model).await?;
    let mut told = Ok(());
    if !output.is_json {
        output.text(&format!("{}\n", model.id()))?;
    }
    model
        .bench(|measurement| {
            if told.is_ok() {
                told = tell(measurement, output);
            }
        })
        .await?;
    told
}

fn tell(measurement: &Measurement, output: &mut Output) -> Result<()> {
    if output.is_json {
        return output.json(measurement);
    }
    let value = measurement.value;
    let digits = if value < 10.0 { 3 } else { 1 };
    let what = measurement.describe();
    output.text(&format!(
        "  {what:<44} {value:>10.digits$} {}\n",
        measurement.unit
    ))
}
