//! Simple JSON paths (`.spec.replicas`), as `scale` and `selectableFields` take them.

/// The field names, if the path is nothing but field names.
pub(super) fn simple(text: &str) -> Option<Vec<String>> {
    let parts: Vec<String> = text.strip_prefix('.')?.split('.').map(str::to_owned).collect();
    let plain =
        |p: &String| !p.is_empty() && !p.contains(['[', ']', '*', '(', ')', '\'', '"', ' ', '{', '}']);
    parts.iter().all(plain).then_some(parts)
}
