//! As whom PostgreSQL runs and in which directory. An ordinary user runs it as is, in the directory asked for. Root may
//! not: `postgres` or `nobody` does it, in a directory of its own that it can reach.

use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::{LONGEST_SOCKET_DIRECTORY, StoreError, while_doing};

/// The user that a server runs as; `None` when it is whoever started us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account(Option<Ids>);

#[derive(Clone, Copy, Debug)]
struct Ids {
    user: u32,
    group: u32,
}

impl Account {
    /// Ourselves, or, when we are root, the first of `postgres` and `nobody` that there is.
    pub(super) fn for_postgres() -> Result<Self, StoreError> {
        let we_are_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !we_are_root {
            return Ok(Self(None));
        }
        let users = std::fs::read_to_string("/etc/passwd").map_err(while_doing("reading /etc/passwd"))?;
        let ids = ["postgres", "nobody"].into_iter().find_map(|name| ids_of(&users, name));
        ids.map(|ids| Self(Some(ids))).ok_or(StoreError::Failed {
            program: "PostgreSQL".to_owned(),
            output: "it must not run as root, and there is no user postgres or nobody to run it as".to_owned(),
        })
    }

    /// Ourselves, whoever that is.
    pub(super) fn ours() -> Self {
        Self(None)
    }

    /// A command that runs as this account, without our environment, which may name other servers (PGHOST, PGDATA ...).
    pub(super) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir(directory)
            .stdin(Stdio::null());
        if let Some(ids) = self.0 {
            command.uid(ids.user).gid(ids.group);
        }
        command
    }

    /// A directory that only this account (and root) can look into: the one asked for, or one in /var/tmp named after it where the
    /// account cannot get there or where a socket's path would be too long.
    pub(super) fn private_directory(&self, wanted: &Path) -> Result<PathBuf, StoreError> {
        let wanted = std::path::absolute(wanted).map_err(while_doing(format!("finding {}", wanted.display())))?;
        if wanted.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY {
            self.make_private(&wanted)?;
            if self.reaches(&wanted) {
                return Ok(wanted);
            }
            // Nothing is in it, or the account would have come in before.
            drop(std::fs::remove_dir(&wanted));
        }
        let digest = hex::encode(Sha256::digest(wanted.as_os_str().as_encoded_bytes()));
        let elsewhere = PathBuf::from(format!("/var/tmp/faircross-{}", &digest[..16]));
        self.make_private(&elsewhere)?;
        Ok(elsewhere)
    }

    fn make_private(&self, directory: &Path) -> Result<(), StoreError> {
        let doing = || format!("making {}", directory.display());
        if let Some(parent) = directory.parent() {
            std::fs::create_dir_all(parent).map_err(while_doing(doing()))?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => self
                .0
                .map_or(Ok(()), |ids| chown(directory, Some(ids.user), Some(ids.group)))
                .map_err(while_doing(doing())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self.check_owner(directory),
            Err(error) => Err(while_doing(doing())(error)),
        }
    }

    /// /var/tmp is everybody's, so somebody else may have put a directory, or a link, in our place.
    fn check_owner(&self, directory: &Path) -> Result<(), StoreError> {
        let found: Metadata = std::fs::symlink_metadata(directory).map_err(while_doing(format!("looking at {}", directory.display())))?;
        let expected = self
            .0
            .map(|ids| ids.user)
            .or_else(|| std::fs::metadata("/proc/self").ok().map(|process| process.uid()));
        let ours = found.is_dir() && expected.is_none_or(|user| user == found.uid());
        if ours {
            Ok(())
        } else {
            Err(StoreError::Foreign(directory.to_owned()))
        }
    }

    fn reaches(&self, directory: &Path) -> bool {
        let test = self
            .command(Path::new("test"), Path::new("/"))
            .arg("-w")
            .arg(directory)
            .stderr(Stdio::null())
            .status();
        test.is_ok_and(|status| status.success())
    }
}

fn ids_of(users: &str, name: &str) -> Option<Ids> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Ids {
        user: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}
