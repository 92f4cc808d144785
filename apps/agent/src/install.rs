//! `picket-agent install`: a service of systemd, with no more rights than reporting needs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::InstallArgs;
use crate::config::ConfigFile;

/// The unit; what stands in braces is filled in.
const UNIT: &str = include_str!("install/picket-agent.service");

/// The user that the service runs as, as `systemd-sysusers` reads it.
const SYSUSERS: &str = include_str!("install/picket-agent.sysusers");

/// A configuration with every key, as comments but for those that have no default.
pub const EXAMPLE: &str = include_str!("install/agent.toml");

/// Where the key is if the configuration does not say.
const KEY_DEFAULT: &str = "/etc/picket-agent/key.pem";

/// What the unit needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The program.
    pub binary: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// The private key: systemd reads it as root and hands it to the service alone.
    pub key: PathBuf,
}

impl Unit {
    /// The text of the unit.
    ///
    /// # Errors
    /// A path is not absolute, or has characters that mean something to systemd.
    pub fn text(&self) -> anyhow::Result<String> {
        let mut text = UNIT.to_owned();
        for (field, path) in
            [("{binary}", &self.binary), ("{config}", &self.config), ("{key}", &self.key)]
        {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
            let path =
                path.to_str().filter(|path| path.starts_with('/') && path.chars().all(is_plain));
            let path = path.context(
                "a path of the service must be absolute, of letters, digits and `/ . _ - + @ :`",
            )?;
            text = text.replace(field, path);
        }
        Ok(text)
    }
}

/// Writes unit, user and, where there is none, a configuration to be filled in; says what to do next.
///
/// # Errors
/// A file cannot be written, or the configuration that is there cannot be read.
pub fn run(args: &InstallArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().context("cannot find this program")?,
    };
    let config_file = args.below_root(&args.config);
    let config = if config_file.exists() { Some(ConfigFile::load(&config_file)?) } else { None };
    let key = config.and_then(|config| config.key).unwrap_or_else(|| KEY_DEFAULT.into());
    let unit = Unit { binary, config: args.config.clone(), key }.text()?;
    let unit_file = args.below_root(&args.unit_dir.join("picket-agent.service"));
    let sysusers_file = args.below_root(&args.sysusers_dir.join("picket-agent.conf"));
    for (file, text) in [(&unit_file, unit.as_str()), (&sysusers_file, SYSUSERS)] {
        write(file, text)?;
        writeln!(out, "wrote {}", file.display())?;
    }
    if !config_file.exists() {
        write(&config_file, EXAMPLE)?;
        writeln!(out, "wrote {}; fill it in", config_file.display())?;
    }
    if args.root == Path::new("/") {
        writeln!(
            out,
            "next:\n  systemd-sysusers\n  systemctl daemon-reload\n  systemctl enable --now picket-agent"
        )?;
    }
    Ok(())
}

impl InstallArgs {
    /// A path below the root that is installed to.
    fn below_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Replaces a file as a whole: a power cut leaves the old one or the new one.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = || format!("cannot write `{}`", file.display());
    let Some(dir) = file.parent() else { bail!("`{}` is no file", file.display()) };
    fs::create_dir_all(dir).with_context(shown)?;
    let new = file.with_extension("new");
    replace(&new, text).and_then(|()| fs::rename(&new, file)).with_context(shown)
}

fn replace(new: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
