//! The program that the tests give the runtime as its executable: a creator and nothing else.

fn main() {
    dunlin_runtime_oci::creator::main_if_asked();
    eprintln!("this program only makes containers for the tests of dunlin-runtime-oci");
    std::process::exit(2);
}
