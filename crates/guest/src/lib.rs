//! What stands on both sides of a virtual machine's border: the messages over its port, and what its first file system
//! is made of.
//!
//! The program of this crate is three in one file. As process 1 of a virtual machine it is the *agent*, which runs a
//! container's process there. On the host it is the *monitor*, which is that process for everybody else: it starts the
//! machine and passes streams, signals and the exit on. For an exec it is the *client* that talks to the monitor. All of
//! them are static and depend on the C library alone; the guest has no other.

pub mod cpio;
pub mod machine;
pub mod message;
pub mod modules;

pub use machine::Machine;
pub use message::{Message, Network, Process, Setup};

/// Name of the port over which monitor and agent talk.
pub const PORT: &str = "dunlin";
/// Tag of the guest's root file system.
pub const ROOT_TAG: &str = "root";
/// The list of modules to load, in the guest's first file system.
pub const MODULES: &str = "/modules";
/// Where the monitor listens for clients, in the bundle.
pub const SOCKET: &str = "exec.sock";
/// What the monitor is to run, in the bundle.
pub const MACHINE: &str = "machine";
/// Where the monitor notes that the guest's kernel killed for want of memory, in the bundle.
pub const OOM_FILE: &str = "oom";
/// The descriptor on which monitor and client tell why there is no process; closed once there is one.
pub const OUTCOME_FD: i32 = 3;

/// In a plan, what stands for the guest's address, as `ADDRESS/PREFIX:GATEWAY`.
pub const ADDRESS: &str = "@address@";
/// QEMU's exit code when a guest that is no Linux of ours has done what a probe wants: odd, as isa-debug-exit makes them.
pub const PROBED: i32 = 85;

/// Descriptors that QEMU finds open: the port, the console, the file system, the network.
pub const QEMU_FDS: [i32; 4] = [3, 4, 5, 6];
/// The descriptor on which the file system's server accepts.
pub const FS_FD: i32 = 3;
