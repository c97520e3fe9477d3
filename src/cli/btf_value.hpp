// SPDX-License-Identifier: Apache-2.0
//
// Bytes plus a BTF type make a value that a person or a program can read.
//
//   int, float            number (128-bit: hex string)      bool        true, false
//   enum                  name, or number if it has none    pointer     hex string
//   char array            string, up to the first NUL       array       list
//   struct, union         object; the members of anonymous ones are lifted into it
//   bitfield              number (or enum name, bool)       typedef, const, ...: what they name
//   data section          object: variable name -> value
//   bpf_task_work, ...    {}: the fields that the runtime owns have no value for users
//
// Follows what `bpftool map dump` prints; it differs where that is no valid JSON or loses sight of
// the names: bitfields are decimal, floats are printed, variables of a section are members of one
// object.
#pragma once

#include <bpf/btf.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace taskwork::cli {

/// Keeps members in the order of their declaration.
using Json = nlohmann::ordered_json;

/// The value of type `type_id` in `size` bytes. A type that reaches beyond the bytes, or is of a
/// kind that has no value, reads as null there. type_id 0 (void): as hex_bytes().
/// Context: task.
Json btf_value(const btf* types, std::uint32_t type_id, const void* data, std::size_t size);

/// Bytes without a type: a list of "0x.." strings, as bpftool.
/// Context: task.
Json hex_bytes(const void* data, std::size_t size);

/// JSON in the layout of `bpftool map dump`, which starts at `depth` levels of four spaces.
/// Context: task.
std::string to_bpftool_text(const Json& value, unsigned depth = 0);

/// One JSON document of it. Strings from foreign memory need not be UTF-8: each byte that is not
/// becomes U+FFFD.
/// Context: task.
std::string to_json_text(const Json& value);

}  // namespace taskwork::cli
