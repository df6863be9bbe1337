//! Inputs that get somewhere: an entry of the corpus, changed a little as the fuzzer's bytes say. Bytes alone would hardly
//! ever make a JSON object; and because the bytes decide everything, a coverage-guided engine can steer by them as well.

use std::path::Path;

/// Pieces of text at which readers stumble.
const PIECES: [&[u8]; 24] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-",
    b".",
    b"0",
    b"e9",
    b"1e400",
    b"\\u0000",
    b"\0",
    b"\xff",
    b"\n",
    b"9007199254740992",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"%00",
    b"&",
    b"\xd9\xa3",
];

/// The files of `tests/corpus/{target}`, by name.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a readable file")).collect()
}

/// The input that `program` makes of the corpus: one time in eight the program's own bytes.
pub fn shaped(corpus: &[Vec<u8>], program: &[u8]) -> Vec<u8> {
    let Some((choice, changes)) = program.split_first() else {
        return Vec::new();
    };
    let entry = corpus.get(usize::from(choice >> 3) % corpus.len().max(1));
    let Some(entry) = entry.filter(|_| choice & 7 != 0) else {
        return changes.to_vec();
    };
    let mut input = entry.clone();
    for change in changes.chunks_exact(3).take(usize::from(choice & 7).div_ceil(2)) {
        let (kind, place, value) = (change[0], change[1], change[2]);
        change_at(&mut input, corpus, kind, usize::from(place), value);
    }
    input
}

/// One change, at a place in 256ths of the input.
fn change_at(input: &mut Vec<u8>, corpus: &[Vec<u8>], kind: u8, place: usize, value: u8) {
    let at = place * input.len() / 256;
    let end = (at + usize::from(value % 16)).min(input.len());
    match kind % 8 {
        0 if at < input.len() => input[at] = value,
        1 if at < input.len() => input[at] ^= 1 << (value % 8),
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, value),
        4 | 5 => drop(input.splice(at..at, PIECES[usize::from(value) % PIECES.len()].iter().copied())),
        6 => input.extend_from_within(at..end),
        7 => {
            let other = &corpus[usize::from(value) % corpus.len()];
            input.truncate(at);
            input.extend_from_slice(&other[place * other.len() / 256..]);
        }
        _ => {}
    }
}
