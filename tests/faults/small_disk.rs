//! A file system of a few megabytes, which can be filled. Only root can mount one: for others the scenarios that need it say that they were skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::stage::Directory;

/// Mounted in a directory of its own until it is dropped.
pub struct SmallDisk {
    directory: Directory,
}

impl SmallDisk {
    /// None without the right to mount.
    pub fn mount(name: &str, mebibytes: u32) -> Option<Self> {
        let disk = Self { directory: Directory::new(name) };
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(disk.path());
        let output = command.output().unwrap();
        if output.status.success() {
            return Some(disk);
        }
        println!("  skipped: mounting a small disk needs root: {}", String::from_utf8_lossy(&output.stderr).trim());
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file or directory on it, if it exists.
    pub fn copy(&self, from: &Path) {
        if from.exists() {
            assert!(
                Command::new("cp").arg("-r").args([from, self.path()]).status().unwrap().success(),
                "{} was not copied",
                from.display()
            );
        }
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        for piece in [vec![0; 1 << 16], vec![0; 1]] {
            while ballast.write_all(&piece).is_ok() {}
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may not have ended everything yet.
        drop(Command::new("umount").arg("-l").arg(self.path()).output());
    }
}
