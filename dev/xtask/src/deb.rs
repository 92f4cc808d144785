//! `cargo xtask deb`: Debian packages of the agent, for every architecture that can be built for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::agent::{ARCHITECTURES, Target, Toolchain};
use crate::repo::{Repo, cargo};
use crate::shell::{output, run as run_command, step, which};

/// Files that belong to whoever administers the device: an update asks before it replaces them.
const CONFFILE: &str = "/etc/picket-agent/agent.toml";

/// Builds what can be built here and says what cannot.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    if which("dpkg-deb").is_none() {
        bail!("`dpkg-deb` is missing: install the package dpkg");
    }
    let toolchain = Toolchain::find()?;
    let out = repo.target.join("deb");
    fs::create_dir_all(&out)?;
    let mut made = Vec::new();
    for (architecture, targets) in ARCHITECTURES {
        match targets.iter().find(|target| toolchain.lacks(target).is_none()) {
            Some(target) => {
                let what = format!("build the package for {architecture} ({})", target.triple);
                made.push(step(&what, || package(repo, &out, architecture, target))?);
            }
            None => {
                let lacking = targets.first().and_then(|target| toolchain.lacks(target));
                println!("{architecture}: not built: {}", lacking.unwrap_or_default());
            }
        }
    }
    if made.is_empty() {
        bail!("there is no target that a package could be built for");
    }
    for file in made {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds one package and returns its file.
fn package(repo: &Repo, out: &Path, architecture: &str, target: &Target) -> Result<PathBuf> {
    let program = target.build(repo)?;

    let stage = out.join(architecture);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    put(&program, &stage.join("usr/bin/picket-agent"), 0o755)?;
    put(&repo.root.join("LICENSE"), &stage.join("usr/share/doc/picket-agent/copyright"), 0o644)?;
    put(
        &repo.root.join("docs/agent.md"),
        &stage.join("usr/share/doc/picket-agent/agent.md"),
        0o644,
    )?;
    // The service is what `install` writes; the program for this machine writes it, whatever
    // machine the package is for.
    let install = ["run", "--quiet", "--package", "picket-agent", "--", "install"];
    let mut install_into = cargo();
    install_into.current_dir(&repo.root).args(install).arg("--root").arg(&stage);
    install_into.args(["--binary", "/usr/bin/picket-agent"]);
    install_into.args(["--unit-dir", "/usr/lib/systemd/system"]);
    output(install_into.args(["--sysusers-dir", "/usr/lib/sysusers.d"]))?;

    let deb = repo.root.join("packaging/deb");
    for script in ["postinst", "prerm", "postrm"] {
        put(&deb.join(script), &stage.join("DEBIAN").join(script), 0o755)?;
    }
    fs::write(stage.join("DEBIAN/conffiles"), format!("{CONFFILE}\n"))?;
    let bytes = fs::read(&program)?;
    let version = env!("CARGO_PKG_VERSION");
    let control = fs::read_to_string(deb.join("control"))?
        .replace("{version}", version)
        .replace("{architecture}", architecture)
        .replace("{installed_kib}", &(bytes.len() / 1024 + 64).to_string())
        .replace("Depends: {depends}\n", &depends(&bytes));
    fs::write(stage.join("DEBIAN/control"), control)?;

    let file = out.join(format!("picket-agent_{version}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    // The same sources give the same package.
    let time =
        output(Command::new("git").current_dir(&repo.root).args(["log", "-1", "--format=%ct"]))?;
    command.env("SOURCE_DATE_EPOCH", time.trim());
    run_command(command.args(["--root-owner-group", "--build"]).arg(&stage).arg(&file))?;
    Ok(file)
}

/// Copies a file and sets its mode.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy `{}`", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

/// The line of what a program needs of Debian: the C library, of the version that the newest symbol
/// came with. A static program needs nothing.
fn depends(program: &[u8]) -> String {
    const PREFIX: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits = program.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
        let digits: String = digits.map(|byte| char::from(*byte)).collect();
        digits.parse::<u32>().ok()
    };
    let found = program.windows(PREFIX.len()).enumerate().filter(|(_, bytes)| *bytes == PREFIX);
    let newest = found.filter_map(|(at, _)| minor(at + PREFIX.len())).max();
    let Some(newest) = newest else { return String::new() };
    let unwinder = b"libgcc_s.so.1";
    let has_unwinder = program.windows(unwinder.len()).any(|bytes| bytes == unwinder);
    format!("Depends: libc6 (>= 2.{newest}){}\n", if has_unwinder { ", libgcc-s1" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_the_c_library_of_its_newest_symbol() {
        for (program, expected) in [
            (&b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.17\0"[..], "Depends: libc6 (>= 2.34)\n"),
            (b"GLIBC_2.4\0libgcc_s.so.1\0", "Depends: libc6 (>= 2.4), libgcc-s1\n"),
            (b"GLIBC_2.x GLIBC_2.", ""),
            (b"static", ""),
        ] {
            assert_eq!(depends(program), expected);
        }
    }
}
