//! What only Windows has, what it has not, and what a pod may not have because it says on which system it runs.

use super::field::{At, Errors};
use super::syntax;

/// The largest GMSA credential spec: 64 KiB.
const CREDENTIALS: usize = 64 * 1024;

/// `windowsOptions` of a pod or of a container.
pub(super) fn options(options: &At, errors: &mut Errors) {
    let name = options.get("gmsaCredentialSpecName");
    if name.is_set() {
        errors.complaints(&name, syntax::dns_subdomain(name.text()));
    }
    let credentials = options.get("gmsaCredentialSpec");
    if credentials.is_set() && credentials.is_empty() {
        errors.invalid(&credentials, "gmsaCredentialSpec cannot be an empty string");
    } else if credentials.text().len() > CREDENTIALS {
        errors.invalid(&credentials, "gmsaCredentialSpec size must be under 64 KiB");
    }
    let user = options.get("runAsUserName");
    if user.is_set() {
        user_name(&user, errors);
    }
}

/// `DOMAIN\user` or `user`.
fn user_name(at: &At, errors: &mut Errors) {
    let text = at.text();
    if text.is_empty() {
        return errors.invalid(at, "runAsUserName cannot be an empty string");
    }
    if text.chars().any(char::is_control) {
        return errors.invalid(at, "runAsUserName cannot contain control characters");
    }
    let (domain, user) = match text.split('\\').collect::<Vec<_>>().as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return errors.invalid(at, "runAsUserName cannot contain more than one backslash"),
    };
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            errors.invalid(at, "runAsUserName's Domain length must be under 256 characters");
        }
        let net_bios = !domain.is_empty()
            && domain.len() <= 15
            && !domain.starts_with('.')
            && !domain.contains(['\\', '/', ':', '*', '?', '<', '>', '|', '"']);
        if !net_bios && !syntax::dns_subdomain(&domain.to_lowercase()).is_empty() {
            errors.invalid(at, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        errors.invalid(at, "runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        errors.invalid(at, "runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        errors.invalid(at, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let words = r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        errors.invalid(at, words);
    }
}

/// Every container of a pod, in the order in which Kubernetes visits them.
fn containers<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> {
    let spec = spec.clone();
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| spec.get(list).items())
}

fn host_process_of<'a>(place: &At<'a>) -> At<'a> {
    place.path(&["securityContext", "windowsOptions", "hostProcess"])
}

/// Containers that are processes of the host: all of a pod or none, and in its network.
pub(super) fn host_process(spec: &At, errors: &mut Errors) {
    let whole = host_process_of(spec).value.as_bool();
    let (mut all, mut of_host) = (0, 0);
    for container in containers(spec) {
        let own = host_process_of(&container);
        if let (Some(whole), Some(value)) = (whole, own.value.as_bool())
            && whole != value
        {
            let words = format!("pod hostProcess value must be identical if both are specified, was {whole}");
            errors.invalid(&own, words);
        }
        all += 1;
        of_host += usize::from(own.value.as_bool().or(whole).unwrap_or_default());
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let words =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid_value(spec, "", words);
    }
    if !spec.get("hostNetwork").is_true() {
        let words = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid_value(&spec.get("hostNetwork"), false, words);
    }
}

/// Fields of a pod that `os.name` rules out.
pub(super) fn system(spec: &At, errors: &mut Errors) {
    let name = spec.path(&["os", "name"]);
    if !spec.get("os").is_set() {
        return;
    }
    match name.text() {
        "linux" => {
            let words = "windows options cannot be set for a linux pod";
            for place in std::iter::once(spec.clone()).chain(containers(spec)) {
                let options = place.path(&["securityContext", "windowsOptions"]);
                if options.is_set() {
                    errors.forbidden(&options, words);
                }
            }
        }
        "windows" => windows(spec, errors),
        "" => errors.required(&name, ""),
        _ => errors.supported(&name, &["linux", "windows"]),
    }
}

fn windows(spec: &At, errors: &mut Errors) {
    let words = "cannot be set for a windows pod";
    let forbid = |at: &At, errors: &mut Errors| {
        let unset = at.value == &serde_json::Value::Bool(false)
            && matches!(at.path.rsplit('.').next(), Some("hostPID" | "hostIPC"));
        if at.is_set() && !unset {
            errors.forbidden(at, words);
        }
    };
    let context = spec.get("securityContext");
    for (of_spec, name) in [
        (false, "appArmorProfile"),
        (false, "seLinuxOptions"),
        (true, "hostUsers"),
        (true, "hostPID"),
        (true, "hostIPC"),
        (false, "seccompProfile"),
        (false, "fsGroup"),
        (false, "fsGroupChangePolicy"),
        (false, "sysctls"),
        (true, "shareProcessNamespace"),
        (false, "runAsUser"),
        (false, "runAsGroup"),
        (false, "supplementalGroups"),
        (false, "supplementalGroupsPolicy"),
        (false, "seLinuxChangePolicy"),
    ] {
        forbid(&if of_spec { spec.get(name) } else { context.get(name) }, errors);
    }
    for container in containers(spec) {
        let context = container.get("securityContext");
        for name in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            forbid(&context.get(name), errors);
        }
    }
}
