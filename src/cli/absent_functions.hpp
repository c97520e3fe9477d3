// SPDX-License-Identifier: Apache-2.0
//
// Kernel functions that an object declares and the kernel does not have. libbpf puts the same
// nothing in place of each that is weak, and refuses the whole object for one that is not. In the
// object as it is made here each call of one has a number of its own, in the manner of libbpf 1.3,
// so that the verifier judges each program, and what it says of a number can be put into names.
#pragma once

#include <string>
#include <vector>

struct btf;

namespace taskwork::cli {

struct MarkedObject {
    std::vector<char> bytes;
    std::vector<std::string> names;  ///< Of the functions that are absent, in the order of numbers.
    std::vector<std::string> needed;  ///< Those of them that are not weak.
};

/// `bytes`: as read_object_file() returns them, `types` the object's. Addresses of functions stay
/// what they are: 0 of one that is absent. Context: task.
MarkedObject mark_absent_functions(const std::vector<char>& bytes, const btf& types);

/// The verifier's log of a program of it, with the names. Context: task.
std::string name_absent_functions(std::string log, const std::vector<std::string>& names);

}  // namespace taskwork::cli
