//! Replays the committed inputs through every target, so that what was found once is never found again.

use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

#[test]
fn every_seed_passes_its_target() {
    for (name, target) in dunlin_fuzz_targets::TARGETS {
        let folder = fuzz().join("seeds").join(name);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            eprintln!("{name}: {}", file.display());
            target(&data);
            // Cut anywhere, as a broken connection cuts it; at most 20 places, because images touch the disk.
            for cut in (0..data.len()).step_by(data.len() / 20 + 1) {
                target(&data[..cut]);
            }
        }
    }
}

#[test]
fn the_binaries_are_the_targets() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let binaries: Vec<&str> = manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|section| section.split("name = \"").nth(1)?.split('"').next())
        .collect();
    let targets: Vec<&str> = dunlin_fuzz_targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(binaries, targets);
}
