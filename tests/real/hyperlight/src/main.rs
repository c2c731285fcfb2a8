//! A service that gives each of its micro-VMs a file to read, as published releases of
//! hyperlight-host let it. It keeps to their interface, makes no leak of its own, and knows
//! nothing of boxledger.
//!
//! Usage: driver GUEST FILE drop|unmap|restore|many COUNT
//!
//! drop     COUNT sandboxes, each handed FILE by map_file_cow and then dropped
//! unmap    the same, but what is left mapped of FILE is unmapped after each
//! restore  one sandbox, COUNT times handed FILE and then restored; it lives until the exit
//! many     sandboxes handed FILE 50 times each, at 50 places, and then dropped: COUNT calls in all
//!
//! Prints, by /proc/self/maps, how many mappings of FILE it is left with, and how many mappings and
//! descriptors it holds more than before, as one JSON object; of `many` how many calls went well, how
//! many VMAs there were at each twentieth of them, and what the first that failed was told.

// The newest release keeps the old name of a sandbox, and calls it deprecated.
#![allow(deprecated)]

use std::error::Error;
use std::fs;
use std::path::Path;

use hyperlight_host::sandbox::uninitialized::GuestBinary;
use hyperlight_host::{MultiUseSandbox, UninitializedSandbox};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the guest sees the file: beyond all that a sandbox has by default.
const GUEST_ADDRESS: u64 = 0x2_0000_0000;

fn sandbox(guest: &str) -> Outcome<MultiUseSandbox> {
    let binary = GuestBinary::FilePath(guest.to_string().into());
    Ok(UninitializedSandbox::new(binary, None)?.evolve()?)
}

/// The addresses at which this process has `file` mapped: (first, one past the last).
fn mapped(file: &str) -> Outcome<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        if !line.ends_with(file) {
            continue;
        }
        let range = line.split(' ').next().unwrap_or_default();
        let (first, end) = range.split_once('-').ok_or("no range in /proc/self/maps")?;
        found.push((
            usize::from_str_radix(first, 16)?,
            usize::from_str_radix(end, 16)?,
        ));
    }
    Ok(found)
}

fn unmap(file: &str) -> Outcome<()> {
    for (first, end) in mapped(file)? {
        // SAFETY: no VM that these were mapped into is there any more, and nobody else knows them.
        if unsafe { libc::munmap(first as *mut libc::c_void, end - first) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

const PER_SANDBOX: usize = 50;
const SAMPLES: usize = 20;

fn vmas() -> Outcome<usize> {
    Ok(fs::read_to_string("/proc/self/maps")?.lines().count())
}

/// How many calls succeeded, and how many VMAs there were meanwhile.
fn many(guest: &str, file: &str, count: usize, seen: &mut Vec<usize>) -> (usize, Outcome<()>) {
    let mut done = 0;
    let mut one_sandbox = |done: &mut usize| -> Outcome<()> {
        let mut sandbox = sandbox(guest)?;
        for place in 0..PER_SANDBOX.min(count - *done) {
            sandbox.map_file_cow(Path::new(file), GUEST_ADDRESS + (place << 16) as u64)?;
            *done += 1;
            if *done % (count / SAMPLES).max(1) == 0 {
                seen.push(vmas()?);
            }
        }
        Ok(())
    };
    while done < count {
        if let Err(error) = one_sandbox(&mut done) {
            return (done, Err(error));
        }
    }
    (done, Ok(()))
}

fn descriptors() -> Outcome<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, guest, file, mode, count] = arguments.as_slice() else {
        return Err("usage: driver GUEST FILE drop|unmap|restore|many COUNT".into());
    };
    let count: usize = count.parse()?;
    let before = descriptors()?;

    let mut kept = None;
    match mode.as_str() {
        "drop" | "unmap" => {
            for _ in 0..count {
                let mut sandbox = sandbox(guest)?;
                sandbox.map_file_cow(Path::new(file), GUEST_ADDRESS)?;
                drop(sandbox);
                if mode == "unmap" {
                    unmap(file)?;
                }
            }
        }
        "restore" => {
            let mut sandbox = sandbox(guest)?;
            let snapshot = sandbox.snapshot()?;
            for _ in 0..count {
                sandbox.map_file_cow(Path::new(file), GUEST_ADDRESS)?;
                sandbox.restore(snapshot.clone())?;
            }
            kept = Some(sandbox);
        }
        "many" => {
            let mut seen = Vec::new();
            let (done, outcome) = many(guest, file, count, &mut seen);
            let told = outcome.err().map_or(String::new(), |error| error.to_string());
            println!("{{\"calls\": {done}, \"vmas\": {seen:?}, \"error\": {told:?}}}");
            return Ok(());
        }
        _ => return Err(format!("no such mode: {mode}").into()),
    }

    println!(
        "{{\"mode\": \"{mode}\", \"count\": {count}, \"mapped\": {}, \"descriptors\": {}}}",
        mapped(file)?.len(),
        descriptors()? - before
    );
    // A service that is ended while its sandbox lives: neither dropped nor returned from.
    if kept.is_some() {
        std::process::exit(0);
    }
    Ok(())
}
