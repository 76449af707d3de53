//! What a container's first process and the process that runs its guest say to each other, over a stream socket.

/// The first argument of the shim's program when it is to stand for a guest; the second is its name.
pub const HOLD: &str = "--hold";
/// The descriptor on which it finds the connection.
pub const HOST_FD: i32 = 3;
/// The descriptor of the memory in which the other process tells what the guest has used: nanoseconds of the processor and
/// bytes of memory, each of 8 bytes in this machine's order.
pub const USED_FD: i32 = 4;
/// To the other process: the guest is to end.
pub const STOP: u8 = b's';
/// From it: the guest serves.
pub const SERVES: u8 = b'r';
/// From it: the guest cannot serve; a text follows.
pub const FAILED: u8 = b'f';
/// From it: the guest has ended; its exit code follows.
pub const ENDED: u8 = b'e';
