#pragma once

/* CRC-32C (Castagnoli, as in iSCSI, RFC 3720 appendix B.4): finds damage by chance, not by malice. Uses the
 * processor's instruction where there is one. */

#include <stdint.h>

#include "base/bytes.h"

/* The checksum of the bytes. */
uint32_t crc32c(struct bytes bytes);

/* Continues: crc32c_extend(crc32c(a), b) is the checksum of a followed by b; that of nothing is 0. */
uint32_t crc32c_extend(uint32_t crc, struct bytes bytes);

/* The two ways to compute it, for the test that they agree. The first must not be called where
 * crc32c_has_hardware() is false. */
bool crc32c_has_hardware(void);
uint32_t crc32c_extend_hardware(uint32_t crc, struct bytes bytes);
uint32_t crc32c_extend_software(uint32_t crc, struct bytes bytes);
