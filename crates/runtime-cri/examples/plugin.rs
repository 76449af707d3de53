//! The program that the tests give containerd as its network plugin: that and nothing else.

fn main() {
    dunlin_runtime_cri::plugin::main_if_asked();
    eprintln!("this program is only a network plugin for the tests of dunlin-runtime-cri");
    std::process::exit(2);
}
