//! Tells a file's content from another's.

use std::{fs::File, io::Read as _, path::Path};

use xxhash_rust::xxh3::Xxh3;

/// The size and the xxh3-128 hash of a file's bytes, as they lie on the disk. The file is streamed.
pub fn fingerprint(path: &Path) -> std::io::Result<(u64, u128)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size, mut buffer) = (Xxh3::new(), 0, vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hash.digest128())),
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The same hash of a text.
pub fn text_hash(text: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_hash_of_all_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [0, 1, 300_000, 1 << 19] {
            let bytes: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(fingerprint(&path).unwrap(), (size as u64, xxhash_rust::xxh3::xxh3_128(&bytes)));
        }
        assert!(fingerprint(&dir.path().join("none")).is_err());
    }
}
