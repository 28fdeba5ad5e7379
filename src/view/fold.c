#include "view/fold.h"

int fold_text(struct bytes text, struct buffer *out)
{
    uint8_t *to;
    int r = buffer_extend(out, text.size, &to);
    for (size_t i = 0; r == 0 && i < text.size; i++)
        to[i] = text.data[i] >= 'A' && text.data[i] <= 'Z' ? (uint8_t)(text.data[i] + ('a' - 'A')) : text.data[i];
    return r;
}
