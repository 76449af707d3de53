//! The images of this machine, directly in its data directory: an agent need not run.

use dunlin_app::images::{Image as Stored, ImageStore, Progress};
use dunlin_client::Output;

use crate::Error;
use crate::flags::{Global, Image};
use crate::progress::Shown;

/// Runs an image command.
pub async fn run(command: Image, global: &Global) -> Result<(), Error> {
    let store = dunlin_app::images::open(&global.data_dir())?;
    match command {
        Image::Import { file, name } => {
            let done = store.import(&file, name.as_deref(), shown()).await;
            for image in done.map_err(dunlin_app::images::failed(format!("importing {}", file.display())))? {
                println!("{}", line(&image));
            }
        }
        Image::Pull { reference } => {
            let done = store.pull(&reference, None, shown()).await;
            println!("{}", line(&done.map_err(dunlin_app::images::failed(format!("pulling {reference}")))?));
        }
        Image::Push { reference, target } => {
            let target = target.unwrap_or_else(|| reference.clone());
            let done = store.push(&reference, &target, None, shown()).await;
            done.map_err(dunlin_app::images::failed(format!("pushing {reference} to {target}")))?;
            println!("{target} pushed");
        }
        Image::Ls { output } => list(&store, output).await?,
        Image::Rm { reference } => {
            store
                .remove(&reference)
                .await
                .map_err(dunlin_app::images::failed(format!("removing {reference}")))?;
            println!("{reference} removed");
        }
    }
    Ok(())
}

/// Progress of a transfer.
fn shown() -> Progress {
    let shown = Shown::new();
    Progress::new(move |event| shown.show(event.is_step(), event))
}

fn line(image: &Stored) -> String {
    format!("{} {} ({} bytes)", image.reference, image.digest, image.size)
}

async fn list(store: &std::sync::Arc<ImageStore>, output: Output) -> Result<(), Error> {
    let all = store.list().await.map_err(dunlin_app::images::failed("listing images".to_owned()))?;
    if matches!(output, Output::Json | Output::Yaml) {
        return Ok(dunlin_client::print(&all, output)?);
    }
    let mut rows = vec![["IMAGE", "DIGEST", "SIZE"].map(str::to_owned).to_vec()];
    for image in all {
        rows.push(vec![
            image.reference.to_string(),
            image.digest.to_string(),
            format!("{:.1} MiB", image.size as f64 / (1 << 20) as f64),
        ]);
    }
    print!("{}", dunlin_client::get::align(&rows));
    Ok(())
}
