//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use crossbatch::LossKind;
use crossbatch_models::BackboneKind;
use crossbatch_retrieval::{Embeddings, Similarity};

use crate::{
    commands::{eval::Step, losses},
    memory::parse_bytes,
};

/// Train image-retrieval embeddings with a cross-batch memory, measure them, search with them.
///
/// `crossbatch train` alone trains on built-in data in a few minutes and shows what a memory gives.
#[derive(Debug, Parser)]
#[command(name = "crossbatch", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Seed of initial weights and batches [default: the recipe's, 0]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Threads; 0 uses every core [default: the recipe's, 0]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Where to compute: cpu or gpu [default: the recipe's, cpu]
    #[arg(long, global = true, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Print results, warnings and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print every step and note instead of a progress bar
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(TrainArgs),
    Eval(Box<EvalArgs>),
    Embed(EmbedArgs),
    Search(SearchArgs),
    /// Look at the data sets
    #[command(subcommand)]
    Data(DataCommand),
    Plan(PlanArgs),
    Losses(LossesArgs),
    Models(ModelsArgs),
    /// Published weights of backbones
    #[command(subcommand)]
    Weights(WeightsCommand),
    Export(ExportArgs),
    Bench(BenchArgs),
}

/// Train an embedding network and measure it on unseen classes
///
/// Without a recipe: the built-in one, on characters drawn by a stroke generator. The run folder then
/// holds the resolved recipe, metrics, weights (safetensors, loadable from PyTorch) and summary.json.
/// Ctrl-C finishes the step, saves, and says how to go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch train
  crossbatch train recipes/omniglot.toml --data path/to/omniglot
  crossbatch train --data photos/ --set data.image-size=64 --set steps=3000
  crossbatch train --set memory.size=50% --set memory.weight=0.5
  crossbatch train --resume runs/glyphs-20261123-120000")]
pub(crate) struct TrainArgs {
    /// Recipe in TOML; every key is optional (docs/recipe.md lists them)
    #[arg(value_name = "RECIPE.toml", conflicts_with = "resume")]
    pub(crate) recipe: Option<PathBuf>,
    /// Images: an Omniglot folder, a list file (path,label), a folder with train and test lists, or
    /// a folder with a sub-folder per class; recognised in this order (data.kind forces it)
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Weights that the backbone starts from: a PyTorch (.pth, .pt) or safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) weights: Option<PathBuf>,
    /// Override a key of the recipe; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Run folder [default: runs/<recipe>-<time>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<PathBuf>,
}

/// Measure embeddings: of a run on its test classes, or of anyone in a file
///
/// Exact. Each row is a query against all others, or `--query` against `--gallery`; a query without a match in the
/// gallery is left out and counted. Several runs or files are set side by side, with their differences to the first
/// and 95 % intervals of these (paired bootstrap over classes). docs/evaluation.md explains the numbers.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Files: .safetensors (`embeddings` [N, D], `labels` [N]), .npz (the same), .npy (give --labels),
.csv and .tsv (columns name, label, e0, e1, …; others may be there), .parquet (a column of lists; in builds with
--features parquet).

Examples:
  crossbatch eval runs/mine
  crossbatch eval runs/mine --recall 2,5 --format json
  crossbatch eval runs/mine --data other-photos/
  crossbatch eval --embeddings mine.safetensors --worst 20 --per-class
  crossbatch eval --embeddings mine.npy --labels labels.npy --recall 1,10,100,1000
  crossbatch eval --query q.npz --gallery g.npz --ignore-same label,camera --per camera
  crossbatch eval --embeddings all.csv --query split=query --gallery split=gallery
  crossbatch eval runs/a runs/b theirs.safetensors"
)]
pub(crate) struct EvalArgs {
    /// Run folders made by `crossbatch train`, or files of embeddings
    #[arg(value_name = "RUN|FILE", required_unless_present_any = ["embeddings", "query"])]
    pub(crate) inputs: Vec<PathBuf>,
    /// Embeddings from this file; no model is needed
    #[arg(long, value_name = "FILE")]
    pub(crate) embeddings: Option<PathBuf>,
    /// Labels of the embeddings, from another file: .npy, .npz, .safetensors, .csv, .tsv, .parquet, or .txt with one a line
    #[arg(long, value_name = "FILE", conflicts_with = "label_column")]
    pub(crate) labels: Option<PathBuf>,
    /// Take this column of the file for the labels
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label_column: Option<String>,
    /// The queries: a file of embeddings, or, with --embeddings, its rows with this value in a column
    #[arg(long, value_name = "FILE|COLUMN=VALUE", requires = "gallery", conflicts_with = "inputs")]
    pub(crate) query: Option<PathBuf>,
    /// The gallery, likewise
    #[arg(long, value_name = "FILE|COLUMN=VALUE", requires = "query")]
    pub(crate) gallery: Option<PathBuf>,
    /// Labels of the file of queries, where it has none
    #[arg(long, value_name = "FILE", requires = "query", conflicts_with = "embeddings")]
    pub(crate) query_labels: Option<PathBuf>,
    /// Labels of the file of the gallery, where it has none
    #[arg(long, value_name = "FILE", requires = "gallery", conflicts_with = "embeddings")]
    pub(crate) gallery_labels: Option<PathBuf>,
    /// How near two vectors are [default: what their file says, else cosine]
    #[arg(long, value_enum)]
    pub(crate) similarity: Option<SimilarityArg>,
    /// Leave out, for each query, what agrees with it in all of these columns (`label` is one); can be repeated
    #[arg(long, value_name = "COLUMN,…")]
    pub(crate) ignore_same: Vec<String>,
    /// Other data than the run's; measured as the run's would be
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Set a key of the run's [data], such as data.subset=large or data.protocol=one-gallery; can be repeated
    #[arg(long, value_name = "KEY=VALUE", conflicts_with_all = ["embeddings", "query"])]
    pub(crate) set: Vec<String>,
    /// Which weights of a run [default: the recipe's train.report]
    #[arg(long, value_enum)]
    pub(crate) weights: Option<Weights>,
    /// The K of Recall@K and its like besides 1, 10 and 100
    #[arg(long, value_name = "K,K,…", value_delimiter = ',')]
    pub(crate) recall: Vec<usize>,
    /// Measure every class too, the worst first, and their mean (each class counts the same)
    #[arg(long)]
    pub(crate) per_class: bool,
    /// The same for every value of a column of the queries, such as a camera; can be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) per: Vec<String>,
    /// List the N worst queries, with the nearest wrong answer of each
    #[arg(long, value_name = "N")]
    pub(crate) worst: Option<usize>,
    /// List the N pairs of classes that are most often taken for each other
    #[arg(long, value_name = "N")]
    pub(crate) confused: Option<usize>,
    /// Draw the worst queries of a run with their nearest neighbours into this PNG
    #[arg(long, value_name = "OUT.png")]
    pub(crate) sheet: Option<PathBuf>,
    /// Add 95 % confidence intervals (bootstrap over classes; --seed draws others)
    #[arg(long)]
    pub(crate) ci: bool,
    /// Change the vectors, or the ranking, before measuring; several one after the other: `pca`, `whiten` (=N keeps N
    /// components), `dba`, `qe` (database augmentation, query expansion; =N neighbours), `rerank` (k-reciprocal; =k1)
    #[arg(long, value_name = "STEP[=N],…", value_delimiter = ',')]
    pub(crate) post: Vec<Step>,
    /// Learn `pca` and `whiten` from these embeddings [default: from the gallery itself, without labels]
    #[arg(long, value_name = "FILE", requires = "post")]
    pub(crate) learn_from: Option<PathBuf>,
    /// Cluster the queries by k-means into as many clusters as classes: NMI and AMI
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Start k-means N times, each from seeds of its own; the run with the lowest inertia counts [default: 1]
    #[arg(long, value_name = "N", requires = "cluster")]
    pub(crate) restarts: Option<usize>,
    /// Judge all pairs: ROC-AUC, equal error rate, misses at few false matches and their thresholds
    #[arg(long)]
    pub(crate) verification: bool,
    /// Tell the misses at these rates of false matches [default: 0.01,0.001,0.0001]
    #[arg(
        long,
        value_name = "RATE,…",
        value_delimiter = ',',
        value_parser = parse_rate,
        requires = "verification"
    )]
    pub(crate) fmr: Vec<f64>,
    /// Look at the vectors: similarities within and between classes, uniformity, effective rank, duplicates
    #[arg(long)]
    pub(crate) health: bool,
    /// Use at most so much memory, such as 2GiB. Vectors of .safetensors and .npy files that fill more than half of it
    /// (by default of the memory that is free) stay in the file and are read in blocks
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory_budget: Option<usize>,
    /// Keep the embeddings that were measured: .safetensors, .npy or .csv
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    pub(crate) save_embeddings: Option<PathBuf>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Reads a fraction between 0 and 1, such as 0.001.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(rate) if rate > 0.0 && rate < 1.0 => Ok(rate),
        _ => Err(format!("`{text}` is no rate; give a fraction between 0 and 1, such as 0.001")),
    }
}

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimilarityArg {
    /// The cosine of the angle
    Cosine,
    /// The dot product
    Dot,
    /// Minus the distance
    Euclidean,
}

impl SimilarityArg {
    /// What was asked for, else what a file says, else cosine.
    pub(crate) fn or_of(asked: Option<Self>, rows: &Embeddings) -> Similarity {
        match asked {
            Some(Self::Cosine) => Similarity::Cosine,
            Some(Self::Dot) => Similarity::Dot,
            Some(Self::Euclidean) => Similarity::Euclidean,
            None => rows.similarity().unwrap_or_default(),
        }
    }
}

/// Embed images with a run's network
#[derive(Debug, clap::Args)]
#[command(after_help = "The end of the output's name chooses its format:
  .safetensors  `embeddings` f32 [N, D], `labels` i64 [N] where known, names in the metadata
  .npy          embeddings f32 [N, D], NumPy format 1; the names go to NAME.names.txt beside it
  .csv          name, label, and one column a number
Labels come from lists; in a folder they are the names of its sub-folders.

Examples:
  crossbatch embed runs/mine photos/ -o photos.safetensors
  crossbatch embed runs/mine a.jpg b.jpg products.csv -o some.npy")]
pub(crate) struct EmbedArgs {
    /// Run folder made by `crossbatch train`
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Images, folders of images, or list files (path,label)
    #[arg(value_name = "IMAGES", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Where to write: .safetensors, .npy or .csv
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Which weights [default: the recipe's train.report]
    #[arg(long, value_enum)]
    pub(crate) weights: Option<Weights>,
    /// Succeed even where images could not be read
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
}

/// Find what is nearest to some queries: images by a run's network, or vectors in files
///
/// With a run, similarities are cosines: 1 is the same direction. An image that is both query and in the gallery is
/// no neighbour of itself. Labels come from lists; in a folder they are the names of its sub-folders. Without one, query
/// and gallery are a file of embeddings each, as for `crossbatch eval`; a file that is both searches itself, each
/// row without itself. The search is exact, and files may be larger than memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch search runs/mine --gallery photos/ --query photos/cups/1.jpg
  crossbatch search --gallery big.safetensors --query some.npy --top 100 --format csv > found.csv
  crossbatch search runs/mine --gallery photos/ --query new/*.jpg --top 5 --sheet found.png")]
pub(crate) struct SearchArgs {
    /// Run folder made by `crossbatch train`; without it, files of embeddings are searched
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
    /// Images to search in: a folder, a list file, or an image; can be repeated. Without a run, a file of embeddings
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) gallery: Vec<PathBuf>,
    /// Images to search for: images, folders or list files. Without a run, a file of embeddings
    #[arg(long, value_name = "IMG", required = true, num_args = 1..)]
    pub(crate) query: Vec<PathBuf>,
    /// Neighbours to show for each query
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
    /// Draw the queries with their neighbours into this PNG; right answers are framed green, wrong
    /// ones red, where labels are known
    #[arg(long, value_name = "OUT.png", requires = "run")]
    pub(crate) sheet: Option<PathBuf>,
    /// Which weights [default: the recipe's train.report]
    #[arg(long, value_enum, requires = "run")]
    pub(crate) weights: Option<Weights>,
    /// How near two vectors of files are [default: what their file says, else cosine]
    #[arg(long, value_enum, conflicts_with = "run")]
    pub(crate) similarity: Option<SimilarityArg>,
    /// Use at most so much memory, such as 2GiB. Vectors of .safetensors and .npy files that fill more than half of it
    /// (by default of the memory that is free) stay in the file and are read in blocks
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "run")]
    pub(crate) memory_budget: Option<usize>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    List(DataListArgs),
    Show(DataShowArgs),
    Verify(DataVerifyArgs),
    Preview(DataPreviewArgs),
}

/// List the kinds of data set, and what lies at some paths
#[derive(Debug, clap::Args)]
pub(crate) struct DataListArgs {
    /// Folders or list files to recognise
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Check a data set in full: lists, annotations, archives, and every image
///
/// Says how many classes and images there are, what is missing or corrupt (with file and line) and what is worth
/// knowing: duplicates, files that are no part of the layout, less than the full set. Exit code 1 if anything is
/// wrong. docs/data.md says what each data set looks like on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch data verify Stanford_Online_Products/
  crossbatch data verify inshop/ --kind inshop --lists-only
  crossbatch data verify mine.csv --set data.columns.path=image --set data.columns.label=sku")]
pub(crate) struct DataVerifyArgs {
    /// Folder, list or archive of a data set
    #[arg(value_name = "DIR")]
    pub(crate) path: PathBuf,
    /// What it is [default: recognised; `crossbatch data list` lists the kinds]
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<crossbatch_data::Kind>,
    /// Check lists and annotations alone, not whether the images are there
    #[arg(long)]
    pub(crate) lists_only: bool,
    /// Set a key of a recipe's [data], such as data.subset=large; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Problems that are printed of each sort; JSON has all of them
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) show: usize,
    /// Format of the result: table or json
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Show a data set's classes and images, and draw a contact sheet
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch data show glyphs --sheet glyphs.png
  crossbatch data show photos/ --sheet photos.png --classes 40 --images 6")]
pub(crate) struct DataShowArgs {
    /// `glyphs`, or the path of a data set (`crossbatch data list` says what they look like)
    #[arg(value_name = "NAME")]
    pub(crate) name: PathBuf,
    /// Draw a contact sheet, a row a class, into this PNG
    #[arg(long, value_name = "OUT.png")]
    pub(crate) sheet: Option<PathBuf>,
    /// Classes on the sheet
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) classes: usize,
    /// Images of each class on the sheet
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) images: usize,
}

/// Draw a batch as training sees it, a row a class
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  crossbatch data preview my.toml --data photos/ --set images.crop=random-resized --sheet batch.png")]
pub(crate) struct DataPreviewArgs {
    /// Recipe in TOML; every key is optional (docs/recipe.md lists them)
    #[arg(value_name = "RECIPE.toml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Images, as for `crossbatch train`
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Set a key of the recipe; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Draw into this PNG
    #[arg(long, value_name = "OUT.png")]
    pub(crate) sheet: PathBuf,
    /// Epoch of the batch, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) epoch: u64,
    /// Batch of the epoch, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) batch: usize,
}

/// Tell what a training run will take, without starting it
///
/// Takes the recipe as `crossbatch train` does, and refuses what that would refuse. Prints parameters, bytes,
/// arithmetic of a step, steps of an epoch, and how many negatives an anchor meets. Images are not read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch plan
  crossbatch plan recipes/omniglot.toml --data path/to/omniglot
  crossbatch plan --set memory.size=50% --set batch.classes=32 --format json")]
pub(crate) struct PlanArgs {
    /// Recipe in TOML; every key is optional (docs/recipe.md lists them)
    #[arg(value_name = "RECIPE.toml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Images, as for `crossbatch train`
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Override a key of the recipe; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// List the losses, or print the page of one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch losses
  crossbatch losses multi-similarity")]
pub(crate) struct LossesArgs {
    /// Print this loss's page: equation, shapes, defaults, what to know with a memory, references
    #[arg(value_name = "NAME", value_parser = losses::parse)]
    pub(crate) name: Option<LossKind>,
    /// Format of the result; JSON has the page too
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// List the backbones: parameters, arithmetic, usual images, where weights come from
///
/// Parameters are those of the backbone alone. A FLOP is one operation, so that a product and its addition are two. What
/// a network costs in a training step, `crossbatch plan` tells.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WeightsCommand {
    List(WeightsListArgs),
    Fetch(WeightsFetchArgs),
}

/// List published weights: name, place, size, checksum, licence, how images are prepared
///
/// Nothing is downloaded. A file can be fetched by any program and given to `crossbatch train --weights`.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightsListArgs {
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Download published weights, check them, and say what their SHA-256 is
///
/// Written to a file beside the target first, which is continued where it was broken off, and renamed when size and checksum
/// are right. Where no checksum is stated, the file's own is shown and you are asked. What is there already is checked;
/// anything else needs a program built with the feature `download`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch weights fetch resnet50.imagenet1k-v2
  crossbatch weights fetch dinov2-s14.lvd142m --sha256 HEX -o weights/")]
pub(crate) struct WeightsFetchArgs {
    /// A name of `crossbatch weights list`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The folder to write into
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// The SHA-256 that the file must have, or how it begins (eight digits at least)
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Take a file whose publisher states no checksum without asking
    #[arg(long, conflicts_with = "sha256")]
    pub(crate) accept_unknown: bool,
    /// Fetch from here instead, such as a mirror
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Write a run's network for other programs
///
/// safetensors: the weights in PyTorch's names, those of torchvision and timm for the backbone, the head as `head.weight`
/// and `head.bias`. onnx: the network from images [N, C, S, S] (as it was trained: normalised, not bytes) to embeddings of
/// length one, operator set 17.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch export runs/mine --format safetensors -o mine.safetensors
  crossbatch export runs/mine --format onnx -o mine.onnx")]
pub(crate) struct ExportArgs {
    /// Run folder made by `crossbatch train`
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// Where to write it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Which weights [default: the recipe's train.report]
    #[arg(long, value_enum)]
    pub(crate) weights: Option<Weights>,
    /// The backbone alone, without the prefix `backbone.`, as torchvision and timm load it
    #[arg(long)]
    pub(crate) backbone: bool,
}

/// What a network is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Weights in PyTorch's names
    Safetensors,
    /// The network, operator set 17
    Onnx,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Memory(BenchMemoryArgs),
    Step(BenchModelArgs),
    Infer(BenchModelArgs),
}

/// Time this machine: without a command products, networks, the memory's loss and evaluation, in one table
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch bench
  crossbatch bench --format json
  crossbatch bench step --model conv4 --batch 64 --size 28
  crossbatch bench infer --model conv4
  crossbatch bench memory --data dense")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// Format of the result of `crossbatch bench` itself
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Time a network: a training step (`step`), or images to embeddings (`infer`)
///
/// A training step is forward, a 128-d head, the batch's contrastive loss over 4 images a class without a memory,
/// backward, and Adam, always on the same random images, so that the loss falls. Reported are the median of all steps
/// but the first three, and the most memory in use at once, network and optimiser included.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  crossbatch bench step
  crossbatch bench step --model conv4 --batch 64 --size 28 --format json
  crossbatch bench infer --model conv4 --batch 256 --threads 2")]
pub(crate) struct BenchModelArgs {
    /// The backbone
    #[arg(long, value_name = "NAME", default_value = "conv4")]
    pub(crate) model: BackboneKind,
    /// Images in a batch [default: 64]; of a training step a multiple of 4, at least 8
    #[arg(long, value_name = "B", default_value_t = 64)]
    pub(crate) batch: usize,
    /// Side of the images [default: 28 for conv4, 224 for others]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) size: Option<usize>,
    /// Channels of the images [default: 1 for conv4, 3 for others]
    #[arg(long, value_name = "N")]
    pub(crate) channels: Option<usize>,
    /// Steps or batches that are timed [default: 20 for conv4, 5 for others]
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<usize>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Time a loss against the memory: its value and the gradient of the anchors
///
/// The call is that of a training step, without the enqueue. It takes turns with the two matrix products that
/// bound it, [B, D] x [D, M] and [B, M] x [M, D], over whole matrices, with the same threads. Reported are
/// medians, the value and the gradient's length, and the most memory in use beyond anchors and bank.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Embeddings come from --seed: `sparse` has random classes, and hardly any negative above 0.5;
`dense` has families of similar classes, and a negative above 0.5 for every fiftieth entry. Or from
safetensors files with `embeddings` [N, D] and `labels` [N], as `crossbatch embed` writes them; a run's
checkpoint.safetensors is a bank too. Rows are taken as they are, so that similarities
are dot products; pairs are reduced by sum / anchors, and no self-pair is removed.

Examples:
  crossbatch bench memory
  crossbatch bench memory --loss multi-similarity --data dense --entries 1000,10000,100000 --threads 2
  crossbatch bench memory --anchors a.safetensors --bank b.safetensors --gradient-out g.safetensors
  crossbatch bench memory --bank runs/mine/checkpoint.safetensors --format json"
)]
pub(crate) struct BenchMemoryArgs {
    /// The loss, with its defaults (`crossbatch losses` lists them): contrastive is the released form
    /// with margin 0.5, multi-similarity the released one with 2, 40, 0.5 and mining 0.1
    #[arg(long, value_name = "NAME", value_parser = losses::parse, default_value = "contrastive")]
    pub(crate) loss: LossKind,
    /// Anchors B
    #[arg(long, value_name = "B", default_value_t = 64, conflicts_with = "anchors")]
    pub(crate) batch: usize,
    /// Entries M of the memory; several are measured one after the other
    #[arg(
        long,
        value_name = "M,M,…",
        value_delimiter = ',',
        default_value = "55000",
        conflicts_with = "bank"
    )]
    pub(crate) entries: Vec<usize>,
    /// Numbers D in an embedding
    #[arg(long, value_name = "D", default_value_t = 128, conflicts_with = "bank")]
    pub(crate) dim: usize,
    /// Kind of generated embeddings
    #[arg(long, value_enum, default_value_t, conflicts_with = "bank")]
    pub(crate) data: BenchData,
    /// Type that the memory stores embeddings in
    #[arg(long, value_enum, default_value_t)]
    pub(crate) storage: BenchStorage,
    /// Calls that are timed, at least 20
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) calls: usize,
    /// Anchors from this file
    #[arg(long, value_name = "FILE", requires = "bank")]
    pub(crate) anchors: Option<PathBuf>,
    /// Bank from this file; without --anchors, B of its rows become the anchors
    #[arg(long, value_name = "FILE")]
    pub(crate) bank: Option<PathBuf>,
    /// Write the gradient by the anchors (safetensors: `gradient` [B, D])
    #[arg(long, value_name = "FILE")]
    pub(crate) gradient_out: Option<PathBuf>,
    /// Write the anchors, for another program to read
    #[arg(long, value_name = "FILE")]
    pub(crate) anchors_out: Option<PathBuf>,
    /// Write the bank as it is stored, for another program to read
    #[arg(long, value_name = "FILE")]
    pub(crate) bank_out: Option<PathBuf>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What generated embeddings look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchData {
    /// Random classes
    #[default]
    Sparse,
    /// Families of similar classes
    Dense,
}

/// Type of stored embeddings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchStorage {
    #[default]
    F32,
    F16,
    Bf16,
}

/// Format of a result on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Csv,
}

/// Which weights of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weights {
    /// Of the last step
    Last,
    /// Best on the validation classes
    Best,
}
