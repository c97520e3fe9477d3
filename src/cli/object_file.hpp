// SPDX-License-Identifier: Apache-2.0
//
// An object file before anything is done with it: read, looked at, and handed to libbpf, whose
// messages are kept, since the first warning says what is wrong.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"

struct bpf_object;

namespace taskwork::cli {

struct CloseObject {
    void operator()(bpf_object* object) const noexcept;
};
using ObjectHandle = std::unique_ptr<bpf_object, CloseObject>;

/// The file's bytes. Errors, each a line with the path: cannot be read; not ELF; not BPF; no BTF.
/// Context: task.
Result<std::vector<char>> read_object_file(const std::string& path);

/// Opens what read_object_file() returned; the bytes may go. Maps of data are named after the file.
/// libbpf's messages are kept from now on. Errors, with the path: what libbpf finds wrong with it.
/// Context: task.
Result<ObjectHandle> open_object(const std::vector<char>& bytes, const std::string& path);

/// Forgets libbpf's messages and our reasons. `show`: messages go to standard error as well.
/// Context: task.
void clear_messages(bool show);
void clear_messages();

/// Whether the kernel's BPF_PROG_LOAD (or ours) refused, and not something before it.
/// Context: task.
bool program_load_failed();

/// Whether libbpf did not find a kernel function that is not weak. Context: task.
bool lacks_function();

/// Why libbpf failed: what our bpf(2) said, if it was a call of it that failed, else libbpf's first
/// warning, else the number.
/// Context: task.
std::string why_failed(int error);

}  // namespace taskwork::cli
