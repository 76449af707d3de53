//! The path of a field while a value is walked: one text that grows on the way in, as `spec.containers[0].name`, and is cut
//! back on the way out.

/// Goes into the field `name`; gives the length to cut back to.
pub(crate) fn enter(path: &mut String, name: &str) -> usize {
    let before = path.len();
    if before > 0 {
        path.push('.');
    }
    path.push_str(name);
    before
}
