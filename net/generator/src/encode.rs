//! Emits `encode`: the fields in wire order, then the tagged fields that are set.

use std::fmt::Write as _;

use crate::facts::{condition, uses};
use crate::names::field_name;
use crate::schema::{Field, Type};
use crate::structure::Emitter;

/// The encoder of one structure.
pub(crate) struct Encode<'e, 'f, 'm> {
    pub(crate) of: &'e Emitter<'f, 'm>,
}

impl Encode<'_, '_, '_> {
    pub(crate) fn emit(&self, out: &mut String) -> Result<(), String> {
        let fields = self.of.fields();
        let mut body = String::new();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            let write = self.value(field);
            match condition(field.versions, self.of.structure.versions) {
                None => body.push_str(&write),
                Some(present) => {
                    let _ = write!(body, "if {present} {{\n{write}}}");
                    self.refuse_absent(&mut body, field);
                }
            }
        }
        let mut tagged: Vec<&Field> = fields
            .into_iter()
            .filter(|field| field.tag.is_some())
            .collect();
        tagged.sort_by_key(|field| field.tag);
        if tagged.is_empty() {
            self.unknown_tagged_fields(&mut body);
        } else {
            self.tagged_fields(&mut body, &tagged);
        }
        body.push_str("Ok(())\n");
        let mut head = String::new();
        self.of.emit_head(&mut head, "EncodeError", &body);
        let whole = head + &body;
        let writer = if uses(&whole, "writer") {
            "writer"
        } else {
            "_writer"
        };
        let version = if uses(&whole, "version") {
            "version"
        } else {
            "_version"
        };
        out.push_str(if self.of.structure.is_message {
            "/// Writes the message.\npub "
        } else {
            "/// Writes the structure.\n"
        });
        let _ = writeln!(
            out,
            "fn encode(&self, {writer}: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{\n{whole}}}\n"
        );
        Ok(())
    }

    /// What happens to a field in a version that lacks it: lost if it may be, else refused.
    fn refuse_absent(&self, body: &mut String, field: &Field) {
        if field.ignorable {
            body.push('\n');
            return;
        }
        let set = self.of.is_set(field);
        let path = format!(
            "{}.{}",
            self.of.structure.name,
            field_name(&field.name).trim_start_matches("r#")
        );
        let _ = writeln!(
            body,
            " else {{\nEncodeError::refuse_if({set}, {path:?}, version)?;\n}}"
        );
    }

    fn unknown_tagged_fields(&self, body: &mut String) {
        let write = "writer.put_unknown_tagged_fields(&self.unknown_tagged_fields)?;\n";
        match self.of.flexible(None) {
            "true" => body.push_str(write),
            "flexible" => _ = writeln!(body, "if flexible {{\n{write}}}"),
            _ => {}
        }
    }

    fn tagged_fields(&self, body: &mut String, tagged: &[&Field]) {
        let mut present = Vec::new();
        for field in tagged {
            let set = self.of.is_set(field);
            let variable = format!("has_{}", field_name(&field.name).trim_start_matches("r#"));
            match condition(field.versions, self.of.structure.versions) {
                None => _ = writeln!(body, "let {variable} = {set};"),
                Some(exists) => {
                    let _ = writeln!(body, "let {variable} = {exists} && {set};");
                    if !field.ignorable {
                        let path =
                            format!("{}.{}", self.of.structure.name, field_name(&field.name));
                        let _ = writeln!(
                            body,
                            "EncodeError::refuse_if(!{variable} && {set}, {path:?}, version)?;"
                        );
                    }
                }
            }
            present.push(variable);
        }
        let conditional = self.of.flexible(None) == "flexible";
        if conditional {
            body.push_str("if flexible {\n");
        }
        let count: Vec<String> = present
            .iter()
            .map(|variable| format!("usize::from({variable})"))
            .collect();
        let _ = writeln!(body, "let unknown = self.unknown_tagged_fields.as_slice();");
        let _ = writeln!(
            body,
            "writer.put_tagged_count({}, unknown);",
            count.join(" + ")
        );
        for (field, variable) in tagged.iter().zip(present) {
            let tag = field.tag.unwrap_or_default();
            let write = self.value(field);
            let _ = writeln!(
                body,
                "let unknown = writer.put_tagged_below(unknown, {tag})?;"
            );
            let _ = writeln!(
                body,
                "if {variable} {{\nlet mark = writer.begin_tagged({tag});\n{write}writer.end_tagged(mark)?;\n}}"
            );
        }
        body.push_str("writer.put_raw_tagged(unknown)?;\n");
        if conditional {
            body.push_str("}\n");
        }
    }

    fn value(&self, field: &Field) -> String {
        let value = format!("self.{}", field_name(&field.name));
        let flexible = if field.tag.is_some() {
            "true"
        } else {
            self.of.flexible(Some(field))
        };
        let null = self.of.nullable(field);
        let name = field
            .ty
            .struct_name()
            .map(|name| self.of.struct_name(name))
            .unwrap_or_default();
        match (&field.ty, Emitter::is_option(field)) {
            (Type::String, false) => format!("writer.put_string({value}, {flexible})?;\n"),
            (Type::String, true) => {
                format!("writer.put_nullable_string({value}, {flexible}, {null})?;\n")
            }
            (Type::Bytes, false) => format!("writer.put_bytes({value}, {flexible})?;\n"),
            (Type::Bytes, true) => {
                format!("writer.put_nullable_bytes({value}, {flexible}, {null})?;\n")
            }
            (Type::Records, _) => {
                format!("writer.put_records({value}.as_ref(), {flexible}, {null})?;\n")
            }
            (Type::Struct(_), false) => format!("{value}.encode(writer, version)?;\n"),
            (Type::Struct(_), true) if field.tag.is_some() => {
                format!(
                    "writer.put_tagged_nullable_struct({value}.as_ref(), version, {name}::encode)?;\n"
                )
            }
            (Type::Struct(_), true) => {
                format!(
                    "writer.put_nullable_struct({value}.as_ref(), {null}, version, {name}::encode)?;\n"
                )
            }
            (Type::Array(element), option) => {
                let kind = match **element {
                    Type::String => "strings",
                    Type::Struct(_) => "array",
                    _ => "primitives",
                };
                let tail = if kind == "array" {
                    format!(", version, {name}::encode")
                } else {
                    String::new()
                };
                match option {
                    true => format!(
                        "writer.put_nullable_{kind}({value}.as_deref(), {flexible}, {null}{tail})?;\n"
                    ),
                    false => format!("writer.put_{kind}(&{value}, {flexible}{tail})?;\n"),
                }
            }
            _ => format!(
                "writer.put_{}({value});\n",
                self.of.base_type(&field.ty).to_lowercase()
            ),
        }
    }
}
