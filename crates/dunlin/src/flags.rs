//! The command line as one table: parser, help and completions come from it.

mod access;
mod machines;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use dunlin_app::options::Choices;
use dunlin_client::Output;
use dunlin_client::replicate::Across;
use dunlin_client::token::Purpose;

use access::Access;
use machines::Machines;

/// An orchestrator for the edge: one binary that turns small machines into something kubectl can drive.
#[derive(Debug, Parser)]
#[command(name = "dunlin", version, disable_help_subcommand = true)]
pub struct Flags {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Where data lies [default: /var/lib/dunlin]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file, with the same names as the flags
    #[arg(long, global = true, value_name = "FILE", default_value = dunlin_app::options::CONFIG_FILE)]
    pub config: PathBuf,
    /// What to log: error, warn, info, debug, trace, or target=level pairs [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// Which API to talk to [default: $KUBECONFIG, else the data directory's]; for an agent: of which Kubernetes cluster
    /// it is to be a node
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Global {
    /// The data directory: the flag's, else the configuration file's, else the default. A file that cannot be read matters
    /// to roles only; a verb may be used by someone who may not read it.
    pub fn data_dir(&self) -> PathBuf {
        let below = Choices::read(&self.config).unwrap_or_default();
        Choices { data_dir: self.data_dir.clone(), ..Choices::default() }.over(below).data_dir()
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server: API, store, controllers and scheduler, with an agent for this machine
    Server(Box<Server>),
    /// Run an agent: make this machine a node of a server, or with --kubeconfig of a Kubernetes cluster
    Agent(Agent),
    /// Make, list and revoke the tokens by which machines join
    #[command(subcommand)]
    Token(Token),
    /// Container images of this machine
    #[command(subcommand)]
    Image(Image),
    /// Show objects
    Get {
        /// pods, deploy, node/NAME, ...
        resource: String,
        name: Option<String>,
        #[command(flatten)]
        space: Space,
        /// All namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Label selector
        #[arg(short = 'l', long)]
        selector: Option<String>,
        #[arg(short, long, default_value = "table", value_name = "wide|json|yaml|name")]
        output: Output,
        /// Go on with changes as they come
        #[arg(short, long)]
        watch: bool,
    },
    /// Show one object with its events
    Describe {
        resource: String,
        name: String,
        #[command(flatten)]
        space: Space,
    },
    /// Create or change what manifests describe (server-side apply)
    Apply {
        /// Manifest files or folders, `-` for standard input
        #[arg(short, long, required = true)]
        filename: Vec<String>,
        #[command(flatten)]
        space: Space,
    },
    /// Delete an object, or what manifests describe
    Delete {
        #[arg(requires = "name")]
        resource: Option<String>,
        name: Option<String>,
        #[arg(short, long)]
        filename: Vec<String>,
        #[command(flatten)]
        space: Space,
        /// Seconds that containers get to end
        #[arg(long)]
        grace_period: Option<i64>,
        /// Return only when it is gone (the default)
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// Show what a container has written
    Logs {
        pod: String,
        #[command(flatten)]
        space: Space,
        #[arg(short, long)]
        container: Option<String>,
        /// Go on as lines come
        #[arg(short, long)]
        follow: bool,
        /// The last lines only
        #[arg(long)]
        tail: Option<i64>,
        /// Only what is younger: 90s, 5m, 1h, or a number of seconds
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
        /// The log of the container's previous run
        #[arg(short, long)]
        previous: bool,
        #[arg(long)]
        timestamps: bool,
    },
    /// Run a command in a container
    Exec {
        pod: String,
        #[command(flatten)]
        space: Space,
        #[arg(short, long)]
        container: Option<String>,
        /// Pass standard input on
        #[arg(short = 'i', long)]
        stdin: bool,
        /// Use a terminal
        #[arg(short, long)]
        tty: bool,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run what a file describes: Kubernetes YAML, EdgeIO's YAML or PiCasso's JSON
    Deploy(Deploy),
    /// Show jobs with their states and places
    Jobs {
        #[command(flatten)]
        space: Space,
        /// All namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        #[arg(short, long, default_value = "table", value_name = "wide|json|yaml|name")]
        output: Output,
        /// Go on with changes as they come
        #[arg(short, long)]
        watch: bool,
    },
    /// End a job: its controllers, pods and Services
    Terminate {
        /// Name of the job or of its controller, or KIND/NAME
        job: String,
        #[command(flatten)]
        space: Space,
        /// Return at once, not when the last pod is gone
        #[arg(long)]
        no_wait: bool,
    },
    /// Set how many copies of a job run
    Replicate {
        /// Name of the job or of its controller, or KIND/NAME
        job: String,
        /// How many
        copies: u32,
        /// Spread the copies evenly; this replaces the pods that run
        #[arg(long, value_name = "clusters|machines")]
        across: Option<Across>,
        #[command(flatten)]
        space: Space,
    },
    /// Move a job or a pod: the new pod is ready before the old one ends
    Migrate {
        /// A job, or a pod (pod/NAME if a job has that name, too)
        what: String,
        /// Where to: a cluster, a machine, or cluster/machine
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// How long a new pod may take to be ready: 90s, 5m, or a number of seconds [default: the server's, 5m]
        #[arg(long, value_name = "DURATION")]
        timeout: Option<String>,
        /// Order the move and return at once
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        space: Space,
    },
    /// Show the tree below this server: machines and clusters with their health, capacity and pods
    Status {
        #[arg(short, long, default_value = "table", value_name = "json|yaml")]
        output: Output,
    },
    /// Run the planners on a described world, and tell what they decide, place and send
    Simulate {
        /// World file, `-` for standard input
        file: String,
        /// Only the world of this name; may be given more than once
        #[arg(long, value_name = "NAME")]
        world: Vec<String>,
        #[arg(short, long, default_value = "table", value_name = "json|yaml")]
        output: Output,
    },
    /// End this machine's pods and remove what Dunlin has set up on it
    Reset {
        /// Do it
        #[arg(long)]
        yes: bool,
        /// Empty the data directory, too: images, and on a server the cluster's state and keys
        #[arg(long)]
        all: bool,
    },
    /// Print a completion script
    Completion { shell: Shell },
}

#[derive(Debug, Args)]
pub struct Deploy {
    /// Descriptor files, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    #[command(flatten)]
    pub space: Space,
    /// Run it in this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Run it on this machine, by its path below the cluster if there is one
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// Run it in this area
    #[arg(long, value_name = "NAME")]
    pub area: Option<String>,
    /// Return when everything runs
    #[arg(long)]
    pub wait: bool,
    /// How long to wait: 90s, 5m, or a number of seconds
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    pub timeout: String,
    /// Print the objects that would be made, and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the objects that were made
    #[arg(short, long, default_value = "table", value_name = "json|yaml")]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Space {
    /// Namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
}

#[derive(Debug, Args)]
pub struct Node {
    /// Name of this machine's node [default: the host's name]
    #[arg(long, value_name = "N")]
    pub node_name: Option<String>,
    /// Labels of this machine's node
    #[arg(long, value_name = "K=V")]
    pub label: Vec<String>,
    /// Where this machine is: a name, or latitude and longitude
    #[arg(long, value_name = "NAME|LAT,LON")]
    pub area: Option<String>,
    /// Let pods of the RuntimeClass process run programs of this machine
    #[arg(long)]
    pub native_processes: bool,
    #[command(flatten)]
    pub machines: Machines,
    /// Socket of a container runtime that speaks CRI, for pods of the RuntimeClass handler cri
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,
    /// Handlers of that runtime for pods of the handlers cri-NAME: runsc, kata, ...
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub cri_handlers: Vec<String>,
    /// A grace, tolerance or interval, as in node-grace=20s; the configuration file's `times` has the same names
    #[arg(long = "time", value_name = "NAME=LENGTH")]
    pub times: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Server {
    /// Name of the cluster
    #[arg(long, value_name = "N")]
    pub name: Option<String>,
    /// Where the API listens [default: 0.0.0.0:6443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Names and addresses under which clients reach this server
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub advertise: Vec<String>,
    /// Requests that run at once, shared out to the priority levels [default: 200]
    #[arg(long, value_name = "N")]
    pub max_requests_inflight: Option<u32>,
    /// Run no pods on this machine
    #[arg(long)]
    pub no_agent: bool,
    /// Scheduling policy: balanced, first-fit, bin-pack, nearest, auction, group or external=URL
    #[arg(long, value_name = "POLICY")]
    pub scheduler: Option<String>,
    /// Where objects live: sqlite, or an etcd that several servers share (etcds:// for TLS) [default: sqlite]
    #[arg(long, value_name = "sqlite|etcd://H:P,...")]
    pub store: Option<String>,
    /// The CA that signed etcd's certificate
    #[arg(long, value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// The certificate that is shown to etcd
    #[arg(long, value_name = "FILE", requires = "store_key")]
    pub store_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    pub store_key: Option<PathBuf>,
    /// User in etcd, where it asks for one
    #[arg(long, value_name = "NAME", requires = "store_password_file")]
    pub store_user: Option<String>,
    /// File with that user's password
    #[arg(long, value_name = "FILE")]
    pub store_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with [default: /dunlin/]
    #[arg(long, value_name = "/PREFIX/")]
    pub store_prefix: Option<String>,
    /// URL of the server above this one: this cluster becomes a node there
    #[arg(long, value_name = "URL")]
    pub parent: Option<String>,
    /// Join token of the parent; needed once
    #[arg(long, value_name = "T", requires = "parent")]
    pub token: Option<String>,
    /// What the parent sees of this cluster: one node for all machines, or one for each
    #[arg(long, value_name = "cluster|nodes", requires = "parent")]
    pub expose: Option<String>,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub node: Node,
}

#[derive(Debug, Args)]
pub struct Agent {
    /// URL of the server, or of several that share a store
    #[arg(long, value_name = "URL[,URL]")]
    pub server: Option<String>,
    /// Join token; needed once
    #[arg(long, value_name = "T")]
    pub token: Option<String>,
    /// Port of the kubelet's API, with --kubeconfig; 0 is none [default: 10250]
    #[arg(long, value_name = "PORT")]
    pub kubelet_port: Option<u16>,
    /// CA of the certificates of the kubelet API's callers, with --kubeconfig
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Range of this node's pods, with --kubeconfig, if the cluster assigns none
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    #[command(flatten)]
    pub node: Node,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Print a new token
    Create {
        /// How long it is valid: 30m, 24h, 7d
        #[arg(long, default_value = "24h")]
        ttl: String,
        /// What may join with it: a machine, or a whole cluster
        #[arg(long = "for", default_value = "node", value_name = "node|cluster")]
        purpose: Purpose,
        /// What people should know about it
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List tokens
    List {
        #[arg(short, long, default_value = "table", value_name = "json|yaml")]
        output: Output,
    },
    /// End a token
    Revoke { token: String },
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Import a docker-archive, oci-archive or oci-layout
    Import {
        file: PathBuf,
        /// Under this name instead of the archive's
        #[arg(long)]
        name: Option<String>,
    },
    /// Pull from a registry
    Pull { reference: String },
    /// Push to a registry
    Push { reference: String, target: Option<String> },
    /// List images
    Ls {
        #[arg(short, long, default_value = "table", value_name = "json|yaml")]
        output: Output,
    },
    /// Remove an image's name; what nothing else uses goes with it
    Rm { reference: String },
}
