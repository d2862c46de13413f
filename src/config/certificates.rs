//! Where certificate files are: Butler SOS looks from its working directory, and
//! in its container the configuration lies beside the certificates.

use std::path::{Path, PathBuf, absolute};

use super::reader::Node;

/// Folders beside the configuration where certificates usually are.
const USUAL_FOLDERS: &[&str] = &["certificate", "certificates", "config/certificate", ""];

/// The file that a path in the configuration means: relative to the configuration
/// (`base`), or else to the working directory. Where it is in neither, but in a folder
/// where certificates usually are, the message names that one.
pub fn path(base: &Path, node: &Node<'_>, written: &str) -> PathBuf {
    let beside = base.join(written);
    if beside.exists() {
        return beside;
    }
    let from_here = Path::new(written);
    if from_here.exists() {
        return absolute(from_here).unwrap_or(beside);
    }
    if let Some(found) = usual_place(base, from_here) {
        node.error(format!(
            "there is no file `{written}`, but there is `{found}` beside the configuration; \
             write {found}"
        ));
    }
    beside
}

fn usual_place(base: &Path, written: &Path) -> Option<String> {
    let name = written.file_name()?.to_str()?;
    let places = USUAL_FOLDERS.iter().map(|folder| match *folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    });
    places.into_iter().find(|place| base.join(place).is_file())
}
