//! What was found, as a configuration that works as it is: a new one, or that of `-c`
//! with what is missing there. A comment marks what somebody has to decide.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{
    super::{CommandError, Exit},
    completed::completed,
    found::Found,
    server::{NewServer, comment, quoted},
};
use crate::config::Item;

/// Writes a whole configuration.
pub fn write(out: &mut impl Write, found: &Found) -> Result<Exit, CommandError> {
    let Some(beside) = &found.beside else {
        write_new(out, found)?;
        return Ok(Exit::Done);
    };
    let path = beside.file.path.display();
    match completed(found, beside) {
        Some(text) => {
            tracing::info!(
                "the output contains all of {path}, including its passwords and tokens: keep it as safe as that file"
            );
            out.write_all(text.as_bytes())?;
            Ok(Exit::Done)
        }
        None => {
            tracing::error!(
                "nothing can be added to {path} without changing something else in it; the output is a new configuration WITHOUT the settings of {path}: copy from it what is missing there (`--output table` shows what)"
            );
            writeln!(out, "# A new configuration, without the settings of {path}:")?;
            writeln!(
                out,
                "# nothing can be added to that file without changing something else in it."
            )?;
            write_new(out, found)?;
            Ok(Exit::Failed)
        }
    }
}

fn write_new(out: &mut impl Write, found: &Found) -> io::Result<()> {
    write_head(out, found)?;
    writeln!(out, "  serversToMonitor:\n    rejectUnauthorized: true\n    servers:")?;
    let nodes = found.site.nodes.iter();
    let servers: Vec<NewServer<'_>> = nodes
        .filter(|node| !node.listed.virtual_proxies.is_empty() && node.address.is_ok())
        .map(|node| NewServer::new(found, node))
        .collect();
    for server in &servers {
        write_indented(out, 6, &server.item())?;
    }
    let verified: Vec<Item> = servers.iter().filter_map(NewServer::verified_name).collect();
    if !verified.is_empty() {
        writeln!(out, "  sessionSource:\n    servers:")?;
    }
    for item in &verified {
        write_indented(out, 6, item)?;
    }
    write_notes(out, found)
}

fn write_indented(out: &mut impl Write, column: usize, item: &Item) -> io::Result<()> {
    item.lines.iter().try_for_each(|line| writeln!(out, "{:column$}{line}", ""))
}

fn write_head(out: &mut impl Write, found: &Found) -> io::Result<()> {
    let files = &found.site.source.tls.files;
    writeln!(
        out,
        "# {}, as the repository service {} lists them.",
        found.totals(),
        comment(&found.site.source.host.configured)
    )?;
    writeln!(out, "Butler-SOS:\n  cert:  # relative paths start at the folder of this file")?;
    writeln!(out, "    clientCert: {}", path(&files.client_cert))?;
    if let Some(key) = &files.client_key {
        writeln!(out, "    clientCertKey: {}", path(key))?;
    }
    if let Some(ca) = &files.ca {
        writeln!(out, "    clientCertCA: {}", path(ca))?;
    }
    if files.passphrase.is_some() {
        writeln!(
            out,
            "    # The passphrase is not written here: set QLIK_SESSIONS_KEY_PASSPHRASE."
        )?;
    }
    writeln!(
        out,
        "  userSessions:\n    enableSessionExtract: true\n    pollingInterval: 30000  # ms"
    )
}

fn write_notes(out: &mut impl Write, found: &Found) -> io::Result<()> {
    for node in &found.site.nodes {
        let name = comment(&node.server_name);
        if node.listed.virtual_proxies.is_empty() {
            writeln!(out, "# Left out: no virtual proxy is linked to the proxy of {name}.")?;
        } else if let Err(problem) = &node.address {
            let problem = comment(problem);
            writeln!(
                out,
                "# Left out: {name} cannot be dialled ({problem}); name an address with --address."
            )?;
        }
    }
    if !found.site.unlinked.is_empty() {
        let list = comment(&found.unlinked_list());
        writeln!(out, "# Left out, because they are linked to no proxy: {list}.")?;
    }
    Ok(())
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
