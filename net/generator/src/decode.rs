//! Emits `decode`: a structure literal in wire order, then the tagged fields.

use std::fmt::Write as _;

use crate::facts::{bytes_min, condition, uses};
use crate::names::field_name;
use crate::schema::{Field, Type};
use crate::structure::Emitter;

/// The decoder of one structure.
pub(crate) struct Decode<'e, 'f, 'm> {
    pub(crate) of: &'e Emitter<'f, 'm>,
}

impl Decode<'_, '_, '_> {
    pub(crate) fn emit(&self, out: &mut String) -> Result<(), String> {
        let body = self.body()?;
        let mut whole = String::new();
        self.of.emit_head(&mut whole, "DecodeError", &body);
        whole.push_str(&body);
        let parameter = |name: &'static str, unused| if uses(&whole, name) { name } else { unused };
        let reader = parameter("reader", "_reader");
        let version = parameter("version", "_version");
        let life = if self.of.borrows() { "'a" } else { "'_" };
        out.push_str(if self.of.structure.is_message {
            "/// Reads the message; bytes behind it are left unread.\npub "
        } else {
            "/// Reads the structure.\n"
        });
        let _ = writeln!(
            out,
            "fn decode({reader}: &mut Reader<{life}>, {version}: i16) -> Result<Self, DecodeError> {{\n{whole}}}\n"
        );
        Ok(())
    }

    /// The function's statements: one literal, followed by the tagged fields if any are known.
    fn body(&self) -> Result<String, String> {
        let all = self.of.fields().into_iter();
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) =
            all.partition(|field| field.tag.is_some());
        let (begin, end) = match tagged.is_empty() {
            true => ("Ok(Self {\n", "})\n"),
            false => ("let mut this = Self {\n", "};\n"),
        };
        let mut body = begin.to_owned();
        for field in plain {
            let value = self.value(field)?;
            let default = self.of.default_value(field);
            let name = field_name(&field.name);
            let _ = match condition(field.versions, self.of.structure.versions) {
                None => writeln!(body, "{name}: {value},"),
                Some(present) => writeln!(
                    body,
                    "{name}: if {present} {{ {value} }} else {{ {default} }},"
                ),
            };
        }
        for field in &tagged {
            let _ = writeln!(
                body,
                "{}: {},",
                field_name(&field.name),
                self.of.default_value(field)
            );
        }
        let read = "reader.get_unknown_tagged_fields()?";
        let _ = match (self.of.flexible(None), tagged.is_empty()) {
            ("false", _) => Ok(()),
            (_, false) => writeln!(body, "unknown_tagged_fields: Vec::new(),"),
            ("true", true) => writeln!(body, "unknown_tagged_fields: {read},"),
            (_, true) => writeln!(
                body,
                "unknown_tagged_fields: if flexible {{ {read} }} else {{ Vec::new() }},"
            ),
        };
        body.push_str(end);
        if !tagged.is_empty() {
            self.tagged_fields(&mut body, &tagged)?;
            body.push_str("Ok(this)\n");
        }
        Ok(body)
    }

    fn tagged_fields(&self, body: &mut String, tagged: &[&Field]) -> Result<(), String> {
        let conditional = self.of.flexible(None) == "flexible";
        if conditional {
            body.push_str("if flexible {\n");
        }
        body.push_str("this.unknown_tagged_fields = reader.get_tagged_fields(&mut |tag, reader| {\nmatch tag {\n");
        for field in tagged {
            let guard = condition(field.versions, self.of.structure.versions);
            let guard = guard.map_or(String::new(), |present| format!(" if {present}"));
            let tag = field.tag.unwrap_or_default();
            let value = self.value(field)?;
            let _ = writeln!(
                body,
                "{tag}{guard} => this.{} = {value},",
                field_name(&field.name)
            );
        }
        body.push_str("_ => return Ok(false),\n}\nOk(true)\n})?;\n");
        if conditional {
            body.push_str("}\n");
        }
        Ok(())
    }

    fn value(&self, field: &Field) -> Result<String, String> {
        let flexible = if field.tag.is_some() {
            "true"
        } else {
            self.of.flexible(Some(field))
        };
        let null = self.of.nullable(field);
        let value = match (&field.ty, Emitter::is_option(field)) {
            (Type::String, false) => format!("reader.get_string({flexible})?"),
            (Type::String, true) => format!("reader.get_nullable_string({flexible}, {null})?"),
            (Type::Bytes, false) => format!("reader.get_bytes({flexible})?"),
            (Type::Bytes, true) => format!("reader.get_nullable_bytes({flexible}, {null})?"),
            (Type::Records, _) => format!("reader.get_records({flexible}, {null})?"),
            (Type::Struct(name), false) => {
                format!("{}::decode(reader, version)?", self.of.struct_name(name))
            }
            (Type::Struct(name), true) if field.tag.is_some() => {
                format!(
                    "reader.get_tagged_nullable_struct(version, {}::decode)?",
                    self.of.struct_name(name)
                )
            }
            (Type::Struct(name), true) => {
                format!(
                    "reader.get_nullable_struct({null}, version, {}::decode)?",
                    self.of.struct_name(name)
                )
            }
            (Type::Array(element), option) => {
                self.array(field, element, flexible, option.then_some(null))?
            }
            (_, false) => format!(
                "reader.get_{}()?",
                self.of.base_type(&field.ty).to_lowercase()
            ),
            (_, true) => {
                return Err(format!(
                    "{}: nullable {} is not supported",
                    field.name, field.ty
                ));
            }
        };
        Ok(value)
    }

    fn array(
        &self,
        field: &Field,
        element: &Type,
        flexible: &str,
        null: Option<String>,
    ) -> Result<String, String> {
        let (nullable, null) = match null {
            Some(null) => ("nullable_", format!(", {null}")),
            None => ("", String::new()),
        };
        match element {
            Type::String => Ok(format!("reader.get_{nullable}strings({flexible}{null})?")),
            Type::Struct(name) => {
                let message = self.of.structure.message;
                let versions = field.versions.intersect(self.of.structure.versions);
                let least = bytes_min(
                    message,
                    message.struct_fields(name).unwrap_or_default(),
                    versions,
                );
                if least == 0 {
                    return Err(format!(
                        "{}: an array of empty structures has no bound",
                        field.name
                    ));
                }
                let name = self.of.struct_name(name);
                Ok(format!(
                    "reader.get_{nullable}array({flexible}{null}, {least}, version, {name}::decode)?"
                ))
            }
            fixed if fixed.fixed_size().is_some() && *fixed != Type::Bool => Ok(format!(
                "reader.get_{nullable}primitives({flexible}{null})?"
            )),
            other => Err(format!("{}: array of {other} is not supported", field.name)),
        }
    }
}
