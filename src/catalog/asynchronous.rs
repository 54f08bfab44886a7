//! Commands that answer after the request was accepted.

/// Each by its old name, its module and its name there. A bare local name works where no other module has it.
const ASYNCHRONOUS: [(&str, &str, &str); 7] = [
    ("t_uac_dlg", "tm", "uac_dlg"),
    ("dlg_send_sequential", "dialog", "send_sequential"),
    ("pua_publish", "pua_mi", "publish"),
    ("rtp_relay_update", "rtp_relay", "update"),
    ("rtp_relay_update_callid", "rtp_relay", "update_callid"),
    ("cluster_send_mi", "clusterer", "send_mi"),
    ("cluster_broadcast_mi", "clusterer", "broadcast_mi"),
];

/// Returns true if a command answers asynchronously, by any of its names. Servers compare names without case.
pub fn is_asynchronous(command: &[u8]) -> bool {
    let is = |name: &str| command.eq_ignore_ascii_case(name.as_bytes());
    let (module, local) = match command.iter().position(|byte| *byte == b':') {
        Some(colon) => (Some(&command[..colon]), &command[colon + 1..]),
        None => (None, command),
    };
    ASYNCHRONOUS.iter().any(|(old, of, name)| {
        let named = |name: &str| local.eq_ignore_ascii_case(name.as_bytes());
        let of_module = module.is_none_or(|module| module.eq_ignore_ascii_case(of.as_bytes()));
        is(old) || (of_module && (named(name) || named(old)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asynchronous_commands_are_known_by_all_their_names() {
        for name in ["t_uac_dlg", "T_UAC_DLG", "tm:uac_dlg", "tm:t_uac_dlg", "uac_dlg", "clusterer:broadcast_mi"] {
            assert!(is_asynchronous(name.as_bytes()), "{name}");
        }
        for name in ["t_uac_cancel", "dialog:uac_dlg", "update_contact", "", ":"] {
            assert!(!is_asynchronous(name.as_bytes()), "{name}");
        }
    }
}
