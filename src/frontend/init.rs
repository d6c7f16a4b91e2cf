//! `cloudist init`: the hook in a project's conftest.py.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    args::InitArgs,
    failure::{Failure, exit_code},
};
use crate::templates;

const BEGIN: &str = "# >>> cloudist >>>";
const END: &str = "# <<< cloudist <<<";

/// Files that make pytest take a directory for a project's root.
const ROOT_MARKS: [&str; 6] = ["pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py"];

pub fn init(args: &InitArgs) -> Result<u8, Failure> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => project_root(&env::current_dir().map_err(|error| {
            Failure::new(exit_code::INTERNAL, format!("the working directory can't be read: {error}"))
        })?),
    };
    if !dir.is_dir() {
        return Err(Failure::new(2, format!("{} is not a directory", dir.display()))
            .with_help("name the project's root directory"));
    }
    let path = dir.join("conftest.py");
    let failed = |doing: &str, error: io::Error| {
        Failure::new(exit_code::INTERNAL, format!("failed to {doing} {}: {error}", path.display()))
    };
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", error)),
    };
    let text = before.clone().unwrap_or_default();
    let after = if args.remove { without_block(&text) } else { with_block(&text) }.ok_or_else(|| {
        Failure::new(exit_code::SETTINGS, format!("{}: a cloudist block begins but does not end", path.display()))
            .with_help(format!("delete the lines from `{BEGIN}` on by hand, then run this again"))
    })?;
    let shown = path.display();
    if before.as_deref() == Some(after.as_str()) || (args.remove && before.is_none()) {
        println!("{shown}: nothing to change");
        return Ok(0);
    }
    if args.remove && after.trim().is_empty() {
        fs::remove_file(&path).map_err(|error| failed("remove", error))?;
        println!("{shown}: removed; it held nothing else");
        return Ok(0);
    }
    replace(&path, &after).map_err(|error| failed("write", error))?;
    match (args.remove, before.is_some()) {
        (true, _) => println!("{shown}: took the cloudist block out"),
        (false, true) => println!("{shown}: wrote the cloudist block"),
        (false, false) => println!("{shown}: created, with the cloudist block"),
    }
    if !args.remove {
        println!("Now run your suite with:  pytest --cloudist=test");
    }
    Ok(0)
}

/// The nearest directory upwards that pytest would take for the project's root.
pub fn project_root(start: &Path) -> PathBuf {
    start
        .ancestors()
        .find(|directory| {
            ROOT_MARKS.iter().any(|mark| directory.join(mark).is_file()) || directory.join(".git").exists()
        })
        .unwrap_or(start)
        .to_owned()
}

/// The file is replaced as a whole, so that it is never there by half.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    let permissions = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
    };
    file.as_file().set_permissions(permissions)?;
    // A link to a shared conftest.py stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    file.persist(target)?;
    Ok(())
}

fn with_block(text: &str) -> Option<String> {
    let mut rest = without_block(text)?;
    if !rest.is_empty() {
        let end = rest.trim_end().len();
        rest.truncate(end);
        rest.push_str("\n\n\n");
    }
    rest.push_str(templates::CONFTEST.trim());
    rest.push('\n');
    Some(rest)
}

/// The text less the block; `None` if a block has no end.
fn without_block(text: &str) -> Option<String> {
    let Some(begin) = text.find(BEGIN) else { return Some(text.to_owned()) };
    let end = begin + text[begin..].find(END)? + END.len();
    let before = text[..begin].trim_end();
    let after = text[end..].trim_start_matches(['\r', '\n']);
    Some(match (before.is_empty(), after.is_empty()) {
        (true, _) => after.to_owned(),
        (false, true) => format!("{before}\n"),
        (false, false) => format!("{before}\n\n\n{after}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_put_at_the_end_once_and_taken_out_again() {
        let text = "import pytest\n\n\ndef pytest_addoption(parser): ...\n";
        let once = with_block(text).unwrap();
        assert!(once.starts_with(text));
        assert_eq!(with_block(&once).unwrap(), once);
        assert_eq!(without_block(&once).unwrap(), text);
    }

    #[test]
    fn code_after_the_block_stays() {
        let text = format!("a = 1\n{BEGIN}\nold\n{END}\nb = 2\n");
        assert_eq!(without_block(&text).unwrap(), "a = 1\n\n\nb = 2\n");
        let renewed = with_block(&text).unwrap();
        assert!(renewed.starts_with("a = 1\n\n\nb = 2\n\n\n# >>> cloudist >>>"));
    }

    #[test]
    fn a_block_without_its_end_is_not_touched() {
        assert_eq!(without_block(&format!("{BEGIN}\nold\n")), None);
    }
}
