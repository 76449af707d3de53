//! The pure half: what a pod of the parent becomes below, and what is reported up.

pub mod claim;
pub mod daemon;
pub mod machine;
pub mod mirror;
pub mod offer;
pub mod place;
pub mod references;
pub mod report;
pub mod status;
