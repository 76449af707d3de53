//! Whether the expressions of a validating policy fit the kinds that it names. What does not is a warning in its status,
//! for the expression may never meet such an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Expression, Scope, Variables, typed};
use crate::cel;
use crate::cel::types::{Field, Object, Type};
use crate::gvk::GroupVersionKind;
use crate::schema::{self, Form, TypeId, schema};
use crate::structural::{Schema, declared};

/// Types that stand in each other deeper than this are not looked into.
const DEEPEST: usize = 24;

/// A kind as expressions see it.
#[derive(Clone, Debug)]
pub struct Declared(Type);

impl Declared {
    /// A kind of the built-in table; of others nothing is known.
    pub fn of(gvk: &GroupVersionKind) -> Self {
        Self(schema().of(gvk).map_or(Type::Dyn, |id| of_ref(id, &mut Vec::new())))
    }

    /// A custom resource.
    pub fn of_custom(schema_of: &Schema) -> Self {
        let ty = declared(schema_of);
        let Type::Object(object) = &ty else { return Self(ty) };
        let mut fields: BTreeMap<Box<str>, Field> = object
            .fields
            .iter()
            .map(|(name, f)| (name.clone(), Field { json: f.json.clone(), ty: f.ty.clone() }))
            .collect();
        if let Some(id) = schema().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") {
            let ty = of_ref(id, &mut Vec::new());
            fields.insert("metadata".into(), Field { json: "metadata".into(), ty });
        }
        let object = Object { name: object.name.clone(), fields, open: object.open };
        Self(Type::Object(Arc::new(object)))
    }
}

fn of_ref(id: TypeId, above: &mut Vec<TypeId>) -> Type {
    let def = schema().get(id);
    match def.form {
        Form::Time | Form::MicroTime => return Type::Timestamp,
        Form::Struct if !above.contains(&id) && above.len() < DEEPEST => {}
        _ => return Type::Dyn,
    }
    above.push(id);
    let fields = schema()
        .fields(id)
        .iter()
        .map(|f| (f.name.into(), Field { json: f.name.into(), ty: of(f.ty, above) }))
        .collect();
    above.pop();
    Type::Object(Arc::new(Object { name: def.full_name(), fields, open: false }))
}

fn of(ty: schema::Type, above: &mut Vec<TypeId>) -> Type {
    match ty {
        schema::Type::String => Type::String(None),
        schema::Type::Boolean => Type::Bool,
        schema::Type::Int32 | schema::Type::Int64 => Type::Int,
        schema::Type::Double => Type::Double,
        schema::Type::Bytes => Type::Bytes(None),
        schema::Type::Ref(id) => of_ref(id, above),
        schema::Type::List(e) => Type::list(of(schema().element(e), above)),
        schema::Type::Map(e) => Type::map(of(schema().element(e), above)),
    }
}

/// What is wrong with the validations of a policy, as the field and what is said of it.
pub fn warnings(
    spec: &Value,
    kinds: &[(GroupVersionKind, Declared)],
    params: Option<&Declared>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (index, item) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = item[field].as_str().unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            let wrong: Vec<String> = kinds
                .iter()
                .filter_map(|(gvk, declared)| {
                    let issue = check(spec, text, declared, params)?;
                    let (version, kind) = (gvk.api_version(), &gvk.kind);
                    let version = if gvk.group.is_empty() { format!("/{version}") } else { version };
                    Some(format!("{version}, Kind={kind}: {issue}\n"))
                })
                .collect();
            if !wrong.is_empty() {
                found.push((format!("spec.validations[{index}].{field}"), wrong.join("\n")));
            }
        }
    }
    found
}

fn check(spec: &Value, text: &str, object: &Declared, params: Option<&Declared>) -> Option<String> {
    let scope = Scope { params: !spec["paramKind"].is_null(), authorizer: true, patches: false };
    let params = params.map_or(Type::Dyn, |p| p.0.clone());
    let environment = |variables: &Variables| typed(object.0.clone(), params.clone(), scope, Some(variables));
    let mut variables = Variables::default();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let of = |field: &str| variable[field].as_str().unwrap_or_default();
        let program = cel::compile(of("expression"), &environment(&variables)).map_err(|issue| issue.message);
        let made = Expression { text: of("expression").into(), program };
        variables.0.push((format!("variables.{}", of("name")).into(), made));
    }
    cel::compile(text, &environment(&variables)).err().map(|issue| issue.print(text))
}
