// SPDX-License-Identifier: Apache-2.0
//
// Whether raw BTF is what it must be, before anything else reads it: header, names, types, and what
// types say of each other (ids that exist, no loops, members inside their struct). The rules, the
// numbers and the words are those of the kernel's BPF_BTF_LOAD (kernel/bpf/btf.c), since libbpf's
// parser looks at little of it. Time and memory are linear in the size.
//
//   btf_layout.*      types by id, names, the text
//   btf_check.cpp     header, sections
//   btf_types.*       each type by itself
//   btf_resolve.*     types among each other
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace taskwork::uapi {

/// 0, or a negative errno: -EINVAL; -E2BIG (a header with more in it than is known, a chain of
/// types longer than 32); -ENOTSUPP (version, flags, encoding); -EEXIST (a type that contains
/// itself). What was found, as the kernel's log has it, goes to the end of `*log`, if that is
/// given: each type, and the reason last. Context: task.
int check_btf(const std::vector<std::byte>& raw, std::string* log);

/// The same types behind a header of the usual length, which libbpf's parser needs, and where they
/// are aligned. Of BTF that was checked. Context: task.
std::vector<std::byte> with_usual_header(const std::vector<std::byte>& raw);

}  // namespace taskwork::uapi
