//! The pure tables of the pod network: which address a pod gets, and the text of the packet filter's rules.

pub mod ipam;
pub mod rules;
