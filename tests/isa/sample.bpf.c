// SPDX-License-Identifier: Apache-2.0
//
// For taskwork-bpf-plugin --elf: sums the bytes of its memory by a function of its own. No section
// of a program type: the code begins with the first function.

unsigned long sum(const unsigned char* bytes, unsigned long size);

unsigned long entry(const unsigned char* bytes, unsigned long size) {
    return 0x1000 + sum(bytes, size);
}

__attribute__((noinline)) unsigned long sum(const unsigned char* bytes, unsigned long size) {
    unsigned long total = 0;
    for (unsigned long i = 0; i < size; ++i) {
        total += bytes[i];
    }
    return total;
}
