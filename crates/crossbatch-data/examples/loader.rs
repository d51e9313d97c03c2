//! Images a second: `loader FOLDER decode|train|scaled THREADS SECONDS`, for `benches/loader`.
//!
//! `decode` decodes files one after the other on this thread; `train` makes batches of 64 as training does:
//! decode, random crop to 224, flip, normalise; `scaled` does so with scaled decoding (feature `turbojpeg`).

use std::time::Instant;

use crossbatch_data::{
    Augment, DataConfig, Drawn, ImageSpec, Images, Loader, LoaderConfig, Normalise, RandomCrop,
    Rectangle, list_images, open, transform_bytes,
};

type Failure = Box<dyn std::error::Error>;

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, mode, threads, seconds] = &arguments[..] else {
        return Err("usage: loader FOLDER decode|train|scaled THREADS SECONDS".into());
    };
    let seconds: f64 = seconds.parse()?;
    let rate = match &mode[..] {
        "decode" => decode(folder.as_ref(), seconds)?,
        "train" => train(folder.as_ref(), threads.parse()?, seconds, false)?,
        "scaled" => train(folder.as_ref(), threads.parse()?, seconds, true)?,
        other => return Err(format!("no mode `{other}`: decode, train or scaled").into()),
    };
    println!("crossbatch {mode} {threads} {rate:.1}");
    Ok(())
}

fn decode(folder: &std::path::Path, seconds: f64) -> Result<f64, Failure> {
    let files = list_images(folder)?;
    // A crop of a single pixel: what is left is decoding.
    let crop = Some(Rectangle { left: 0, top: 0, width: 1, height: 1 });
    let drawn = Drawn { crop, ..Drawn::default() };
    let spec = ImageSpec::new(1, 3, false);
    let (started, mut done) = (Instant::now(), 0);
    for file in files.iter().cycle() {
        transform_bytes(&file.name, &fs_err::read(&file.path)?, &spec, &drawn)?;
        done += 1;
        if started.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    Ok(f64::from(done) / started.elapsed().as_secs_f64())
}

fn train(
    folder: &std::path::Path,
    workers: usize,
    seconds: f64,
    scaled_decoding: bool,
) -> Result<f64, Failure> {
    let dataset = open(&DataConfig { path: Some(folder.to_owned()), ..DataConfig::default() })?;
    let all: Vec<usize> = (0..dataset.samples.len()).collect();
    let spec = ImageSpec { normalise: Normalise::IMAGENET, ..ImageSpec::new(224, 3, false) };
    let images = Images::unread(&dataset, &all, spec)?;
    let crop = Some(RandomCrop { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] });
    let augment = Augment { crop, flip: 0.5, ..Augment::default() };
    let ahead = workers + 1;
    let config =
        LoaderConfig { augment, workers, ahead, scaled_decoding, ..LoaderConfig::default() };
    let loader = Loader::new(&images, config)?;
    let plan: Vec<Vec<u32>> = (0..images.len() as u32)
        .cycle()
        .take(1 << 20)
        .collect::<Vec<_>>()
        .chunks(64)
        .map(<[u32]>::to_vec)
        .collect();
    let mut stream = loader.stream(0, plan, 0);
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < seconds {
        let batch = stream.next().ok_or("the plan is at its end")??;
        done += batch.ids.len();
        stream.recycle(batch);
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}
