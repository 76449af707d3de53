//! Which resources are watched, and how their objects are read.
//!
//! The kinds that controllers decide on are read into projections; of everything else only metadata is asked for.

use std::sync::Arc;

use dunlin_control::for_each_kind;
use dunlin_control::model::*;
use dunlin_control::resource::{Resource, Resources};
use dunlin_control::view::View;
use serde::Deserialize;
use serde::de::DeserializeOwned;

macro_rules! any {
    ($($(#[$doc:meta])* $kind:ident: $table:ident,)*) => {
        /// One object as an informer delivers it.
        #[derive(Debug, Clone)]
        pub enum Any {
            $($kind(Arc<$kind>),)*
            /// An object of which only metadata is known.
            Other(Arc<Object>),
        }

        impl Any {
            pub fn metadata(&self) -> &Arc<Meta> {
                match self {
                    $(Self::$kind(o) => &o.metadata,)*
                    Self::Other(o) => &o.metadata,
                }
            }

            pub fn key(&self) -> Key {
                match self {
                    $(Self::$kind(o) => o.key(),)*
                    Self::Other(o) => o.key(),
                }
            }
        }

        /// Resource of each kind, and how one object and a list of them are read.
        const READERS: &[(&str, Parse, ParsePage)] =
            &[$(($kind::RESOURCE, |_, t| from(t, Any::$kind), |_, t| list(t, Any::$kind)),)*];
    };
}
for_each_kind!(any);

macro_rules! tables {
    ($($(#[$doc:meta])* $kind:ident: $table:ident,)*) => {
        /// Keys of all objects of `resource` that the view holds whole.
        pub fn keys(view: &View, resource: &str) -> Vec<Key> {
            match resource {
                $($kind::RESOURCE => view.$table.keys(),)*
                _ => Vec::new(),
            }
        }

        /// Puts an object into its table and gives back the one it replaces.
        pub fn upsert(view: &mut View, object: &Any) -> Option<Any> {
            match object {
                $(Any::$kind(o) => view.$table.upsert(o.clone()).map(Any::$kind),)*
                Any::Other(_) => None,
            }
        }

        /// Takes an object out of its table.
        pub fn remove(view: &mut View, key: &Key) -> Option<Any> {
            match &*key.resource {
                $($kind::RESOURCE => view.$table.remove(&key.namespace, &key.name).map(Any::$kind),)*
                _ => None,
            }
        }
    };
}
for_each_kind!(tables);

/// A page of a list.
pub struct Page {
    pub items: Vec<Any>,
    pub version: Arc<str>,
    pub next: Option<String>,
}

type Parse = fn(&Arc<str>, &str) -> Result<Any, serde_json::Error>;
type ParsePage = fn(&Arc<str>, &str) -> Result<Page, serde_json::Error>;

/// One informer's subject.
#[derive(Clone)]
pub struct Watched {
    pub resource: Arc<Resource>,
    /// Only objects of this namespace; empty for all.
    pub namespace: &'static str,
    /// Only objects that this field selector chooses; empty for all.
    pub fields: &'static str,
    /// Whether only metadata is asked for.
    pub metadata_only: bool,
    pub parse: Parse,
    pub parse_page: ParsePage,
}

impl Watched {
    /// Names the informer: a resource may have one for metadata and one for a few whole objects.
    pub fn id(&self) -> (Arc<str>, bool) {
        (self.resource.name.clone(), self.metadata_only)
    }
}

/// Resources of which only some objects are held whole: the namespace, and the field selector, that those have.
const NARROWED: &[(&str, &str, &str)] =
    &[(ConfigMap::RESOURCE, "", "metadata.name=kube-root-ca.crt"), (Lease::RESOURCE, "kube-node-lease", "")];

/// The typed informers.
pub fn typed(resources: &Resources) -> Vec<Watched> {
    let watched = READERS.iter().filter_map(|(name, parse, parse_page)| {
        let resource = resources.get(name)?.clone();
        let (_, namespace, fields) = NARROWED.iter().find(|(of, ..)| of == name).unwrap_or(&("", "", ""));
        Some(Watched {
            resource,
            namespace,
            fields,
            metadata_only: false,
            parse: *parse,
            parse_page: *parse_page,
        })
    });
    watched.collect()
}

/// An informer of metadata.
pub fn metadata(resource: Arc<Resource>) -> Watched {
    Watched { resource, namespace: "", fields: "", metadata_only: true, parse: other, parse_page: others }
}

/// Whether metadata of the resource has to be watched apart: it is not held typed in full, and may have owners or
/// stand in the way of its namespace's end. Events are too many and are ended by their time; Leases change too often.
pub fn needs_metadata(name: &str) -> bool {
    const NEVER: &[&str] = &["events", "events.events.k8s.io", "leases.coordination.k8s.io"];
    let held =
        READERS.iter().any(|(held, ..)| *held == name) && NARROWED.iter().all(|(some, ..)| *some != name);
    !held && !NEVER.contains(&name)
}

fn from<T: DeserializeOwned>(text: &str, make: fn(Arc<T>) -> Any) -> Result<Any, serde_json::Error> {
    serde_json::from_str::<T>(text).map(|object| make(Arc::new(object)))
}

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: Arc<str>,
    #[serde(default)]
    r#continue: Option<String>,
}

pub(crate) fn list<T: DeserializeOwned>(
    text: &str,
    make: fn(Arc<T>) -> Any,
) -> Result<Page, serde_json::Error> {
    let list: List<T> = serde_json::from_str(text)?;
    let items = list.items.unwrap_or_default().into_iter().map(|object| make(Arc::new(object))).collect();
    let next = list.metadata.r#continue.filter(|next| !next.is_empty());
    Ok(Page { items, version: list.metadata.resource_version, next })
}

#[derive(Deserialize)]
struct Partial {
    metadata: Arc<Meta>,
}

fn other(resource: &Arc<str>, text: &str) -> Result<Any, serde_json::Error> {
    let partial: Partial = serde_json::from_str(text)?;
    Ok(Any::Other(Arc::new(Object { resource: resource.clone(), metadata: partial.metadata })))
}

fn others(resource: &Arc<str>, text: &str) -> Result<Page, serde_json::Error> {
    let list: List<Partial> = serde_json::from_str(text)?;
    let make = |partial: Partial| {
        Any::Other(Arc::new(Object { resource: resource.clone(), metadata: partial.metadata }))
    };
    let next = list.metadata.r#continue.filter(|next| !next.is_empty());
    let items = list.items.unwrap_or_default().into_iter().map(make).collect();
    Ok(Page { items, version: list.metadata.resource_version, next })
}
