//! Emits one structure: its definition, defaults and constants, and what both directions need to know of
//! its fields.

use std::fmt::Write as _;

use crate::decode::Decode;
use crate::emit::{FileEmitter, Structure};
use crate::encode::Encode;
use crate::facts::{borrows, condition, type_borrows, uses};
use crate::names::field_name;
use crate::schema::{Field, Type, Versions};

/// Emits one structure.
pub(crate) struct Emitter<'e, 'm> {
    pub(crate) file: &'e FileEmitter<'m>,
    pub(crate) structure: &'e Structure<'m>,
}

impl Emitter<'_, '_> {
    pub(crate) fn emit(&self, out: &mut String) -> Result<(), String> {
        let Structure {
            message,
            name,
            versions,
            is_message,
            ..
        } = self.structure;
        let doc = match is_message {
            true => format!("`{}`, versions {versions}.", message.name),
            false => format!("Part of `{}`, versions {versions}.", message.name),
        };
        let natural = self.fields().iter().all(|field| self.is_natural(field));
        let derive = if natural {
            "Debug, Clone, PartialEq, Default"
        } else {
            "Debug, Clone, PartialEq"
        };
        let life = if self.borrows() { "<'a>" } else { "" };
        let _ = writeln!(
            out,
            "/// {doc}\n#[derive({derive})]\npub struct {name}{life} {{"
        );
        for field in self.fields() {
            let _ = writeln!(out, "/// {}", self.field_doc(field));
            let _ = writeln!(
                out,
                "pub {}: {},",
                field_name(&field.name),
                self.rust_type(field)
            );
        }
        if self.is_flexible() {
            out.push_str("/// Tagged fields that are not known, as they came.\n");
            out.push_str("pub unknown_tagged_fields: Vec<RawTaggedField<'a>>,\n");
        }
        out.push_str("}\n\n");
        if !natural {
            self.emit_default(out);
        }
        let _ = writeln!(out, "impl{life} {name}{life} {{");
        if *is_message {
            self.emit_constants(out);
        }
        Decode { of: self }.emit(out)?;
        Encode { of: self }.emit(out)?;
        out.push_str("}\n\n");
        Ok(())
    }

    /// The fields that some version of the structure has.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        let valid = self.structure.versions;
        self.structure
            .fields
            .iter()
            .filter(|field| !field.versions.intersect(valid).is_empty())
            .collect()
    }

    pub(crate) fn borrows(&self) -> bool {
        borrows(
            self.structure.message,
            self.structure.fields,
            self.structure.versions,
        )
    }

    pub(crate) fn is_flexible(&self) -> bool {
        !self
            .structure
            .message
            .flexible
            .intersect(self.structure.versions)
            .is_empty()
    }

    /// The expression that says whether lengths are compact.
    pub(crate) fn flexible(&self, field: Option<&Field>) -> &'static str {
        let flexible = field
            .and_then(|field| field.flexible)
            .unwrap_or(self.structure.message.flexible);
        match condition(flexible, self.structure.versions).as_deref() {
            None => "true",
            Some("false") => "false",
            Some(_) => "flexible",
        }
    }

    pub(crate) fn is_option(field: &Field) -> bool {
        !field.nullable.intersect(field.versions).is_empty() || field.ty == Type::Records
    }

    /// The expression that says whether null is allowed, where the field exists.
    pub(crate) fn nullable(&self, field: &Field) -> String {
        let valid = field.versions.intersect(self.structure.versions);
        condition(field.nullable, valid).unwrap_or_else(|| "true".into())
    }

    pub(crate) fn base_type(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "bool".into(),
            Type::Int8 => "i8".into(),
            Type::Int16 => "i16".into(),
            Type::Uint16 => "u16".into(),
            Type::Int32 => "i32".into(),
            Type::Uint32 => "u32".into(),
            Type::Int64 => "i64".into(),
            Type::Float64 => "f64".into(),
            Type::Uuid => "Uuid".into(),
            Type::String => "&'a str".into(),
            Type::Bytes => "&'a [u8]".into(),
            Type::Records => "Records<'a>".into(),
            Type::Array(element) => format!("Vec<{}>", self.base_type(element)),
            Type::Struct(name) => {
                let life = if type_borrows(self.structure.message, ty, self.structure.versions) {
                    "<'a>"
                } else {
                    ""
                };
                format!("{}{life}", self.struct_name(name))
            }
        }
    }

    pub(crate) fn struct_name(&self, name: &str) -> String {
        self.file.struct_name(self.structure.message, name)
    }

    fn rust_type(&self, field: &Field) -> String {
        let base = self.base_type(&field.ty);
        if Self::is_option(field) {
            format!("Option<{base}>")
        } else {
            base
        }
    }

    fn field_doc(&self, field: &Field) -> String {
        let mut doc = format!(
            "`{}`, versions {}",
            field.ty,
            field.versions.intersect(self.structure.versions)
        );
        let nullable = field
            .nullable
            .intersect(field.versions)
            .intersect(self.structure.versions);
        if nullable == field.versions.intersect(self.structure.versions) {
            doc.push_str(", nullable");
        } else if !nullable.is_empty() {
            let _ = write!(doc, ", nullable in {nullable}");
        }
        if let Some(tag) = field.tag {
            let _ = write!(doc, ", tag {tag}");
        }
        if !field.default.is_empty() {
            let _ = write!(doc, ", default {}", field.default);
        }
        if field.ignorable {
            doc.push_str(", dropped in other versions");
        }
        doc.push('.');
        doc
    }

    fn number(field: &Field) -> String {
        match field.default.strip_prefix("0x") {
            _ if field.default.is_empty() => "0".into(),
            Some(hex) => i64::from_str_radix(hex, 16).unwrap_or_default().to_string(),
            None => field.default.clone(),
        }
    }

    /// The default value as an expression.
    pub(crate) fn default_value(&self, field: &Field) -> String {
        if Self::is_option(field) {
            return match (&field.ty, field.default.as_str()) {
                (Type::Records, _) | (_, "null") => "None".into(),
                (Type::String, text) => format!("Some({text:?})"),
                (Type::Bytes, _) => "Some(&[])".into(),
                (Type::Array(_), _) => "Some(Vec::new())".into(),
                (Type::Struct(name), _) => format!("Some({}::default())", self.struct_name(name)),
                _ => "None".into(),
            };
        }
        match &field.ty {
            Type::Bool => (field.default == "true").to_string(),
            Type::Float64 => format!(
                "{:?}",
                Self::number(field).parse::<f64>().unwrap_or_default()
            ),
            Type::Uuid => "Uuid::ZERO".into(),
            Type::String => format!("{:?}", field.default),
            Type::Bytes => "&[]".into(),
            Type::Array(_) => "Vec::new()".into(),
            Type::Struct(name) => format!("{}::default()", self.struct_name(name)),
            _ => Self::number(field),
        }
    }

    /// Whether the field's default is what `#[derive(Default)]` gives.
    fn is_natural(&self, field: &Field) -> bool {
        match self.default_value(field).as_str() {
            "None" | "false" | "0" | "0.0" | "Uuid::ZERO" | "\"\"" | "&[]" | "Vec::new()" => true,
            other => !Self::is_option(field) && other.ends_with("::default()"),
        }
    }

    /// The condition "the field has another value than its default".
    pub(crate) fn is_set(&self, field: &Field) -> String {
        let value = format!("self.{}", field_name(&field.name));
        let default = self.default_value(field);
        match (default.as_str(), &field.ty) {
            ("None", _) => format!("{value}.is_some()"),
            ("false", _) => value,
            ("true", _) => format!("!{value}"),
            ("\"\"" | "&[]" | "Vec::new()", _) => format!("!{value}.is_empty()"),
            ("Some(&[])", _) => format!("!{value}.is_some_and(<[u8]>::is_empty)"),
            ("Some(Vec::new())", _) => format!("!{value}.as_ref().is_some_and(Vec::is_empty)"),
            (_, _) => format!("{value} != {default}"),
        }
    }

    fn emit_default(&self, out: &mut String) {
        let name = &self.structure.name;
        let life = if self.borrows() { "<'_>" } else { "" };
        let _ = writeln!(
            out,
            "impl Default for {name}{life} {{\nfn default() -> Self {{\nSelf {{"
        );
        for field in self.fields() {
            let _ = writeln!(
                out,
                "{}: {},",
                field_name(&field.name),
                self.default_value(field)
            );
        }
        if self.is_flexible() {
            out.push_str("unknown_tagged_fields: Vec::new(),\n");
        }
        out.push_str("}\n}\n}\n\n");
    }

    fn emit_constants(&self, out: &mut String) {
        let message = self.structure.message;
        if let Some(key) = message.api_key {
            let what = if ["request", "response"].contains(&message.kind.as_str()) {
                "API key"
            } else {
                "Record type"
            };
            let _ = writeln!(out, "/// {what}.\npub const API_KEY: i16 = {key};");
        }
        let Versions { low, high } = message.versions;
        let _ = writeln!(
            out,
            "/// Versions that exist.\npub const VERSIONS: RangeInclusive<i16> = {low}..={high};"
        );
        let flexible = if message.flexible.is_empty() {
            "i16::MAX".into()
        } else {
            message.flexible.low.to_string()
        };
        let _ = writeln!(out, "/// Versions with compact lengths and tagged fields.");
        let _ = writeln!(
            out,
            "pub const FLEXIBLE_VERSIONS: RangeFrom<i16> = {flexible}..;\n"
        );
    }

    /// Statements at the head of both functions: is there such a version, is it flexible?
    pub(crate) fn emit_head(&self, out: &mut String, error: &str, body: &str) {
        let Structure {
            message,
            is_message,
            versions,
            ..
        } = self.structure;
        if *is_message {
            let name = &message.name;
            out.push_str("if !Self::VERSIONS.contains(&version) {\n");
            let _ = writeln!(
                out,
                "return Err({error}::UnsupportedVersion {{ message: {name:?}, version }});\n}}"
            );
        }
        if uses(body, "flexible") {
            let _ = writeln!(
                out,
                "let flexible = {};",
                condition(message.flexible, *versions).unwrap_or_default()
            );
        }
    }
}
