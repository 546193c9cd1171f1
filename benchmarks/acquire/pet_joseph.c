/* A straightforward Joseph projector: one thread per line, four-point interpolation in each plane
   along the axis of greatest extent; the transpose adds with atomics. Volume (z, y, x), float. */
#include <math.h>
#include <stddef.h>

static int setup(const float *a, const float *b, const float *origin, const float *step,
                 const int *n, int *axis, float *start, float *slope, float *length, int *first,
                 int *last)
{
    float d[3], norm = 0;
    for (int k = 0; k < 3; k++) { d[k] = b[k] - a[k]; norm += d[k] * d[k]; }
    norm = sqrtf(norm);
    int m = fabsf(d[2]) > fabsf(d[1]) * 1.000001f ? 2 : 1;
    if (fabsf(d[0]) > fabsf(d[m]) * 1.000001f) m = 0;
    if (d[m] == 0) return 0;
    int u = m == 0 ? 1 : 0, v = m == 2 ? 1 : 2;
    *axis = m;
    float pa = (a[m] - origin[m]) / step[m], pb = (b[m] - origin[m]) / step[m];
    for (int k = 0; k < 2; k++) {
        int w = k ? v : u;
        slope[k] = d[w] / step[w] / (pb - pa);
        start[k] = (a[w] - origin[w]) / step[w] - pa * slope[k];
    }
    *length = norm * step[m] / fabsf(d[m]);
    *first = (int)fmaxf(ceilf(fminf(pa, pb)), 0);
    *last = (int)fminf(floorf(fmaxf(pa, pb)), n[m] - 1);
    return 1;
}

void joseph_forward(const float *a, const float *b, const float *volume, const float *origin,
                    const float *step, const int *n, float *out, size_t lines)
{
    const ptrdiff_t stride[3] = {(ptrdiff_t)n[1] * n[2], n[2], 1};
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < lines; i++) {
        int m, first, last;
        float start[2], slope[2], length, total = 0;
        out[i] = 0;
        if (!setup(a + 3 * i, b + 3 * i, origin, step, n, &m, start, slope, &length, &first, &last))
            continue;
        int u = m == 0 ? 1 : 0, v = m == 2 ? 1 : 2;
        for (int p = first; p <= last; p++) {
            float x = start[0] + slope[0] * p, y = start[1] + slope[1] * p;
            int ix = (int)floorf(x), iy = (int)floorf(y);
            if (ix < -1 || iy < -1 || ix >= n[u] || iy >= n[v]) continue;
            float fx = x - ix, fy = y - iy;
            const float *at = volume + p * stride[m] + ix * stride[u] + iy * stride[v];
            int x0 = ix >= 0, x1 = ix + 1 < n[u], y0 = iy >= 0, y1 = iy + 1 < n[v];
            if (x0 && y0) total += (1 - fx) * (1 - fy) * at[0];
            if (x1 && y0) total += fx * (1 - fy) * at[stride[u]];
            if (x0 && y1) total += (1 - fx) * fy * at[stride[v]];
            if (x1 && y1) total += fx * fy * at[stride[u] + stride[v]];
        }
        out[i] = total * length;
    }
}

static inline void add(float *to, float value)
{
#pragma omp atomic
    *to += value;
}

void joseph_back(const float *a, const float *b, float *volume, const float *origin,
                 const float *step, const int *n, const float *values, size_t lines)
{
    const ptrdiff_t stride[3] = {(ptrdiff_t)n[1] * n[2], n[2], 1};
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < lines; i++) {
        int m, first, last;
        float start[2], slope[2], length;
        if (values[i] == 0) continue;
        if (!setup(a + 3 * i, b + 3 * i, origin, step, n, &m, start, slope, &length, &first, &last))
            continue;
        int u = m == 0 ? 1 : 0, v = m == 2 ? 1 : 2;
        float value = values[i] * length;
        for (int p = first; p <= last; p++) {
            float x = start[0] + slope[0] * p, y = start[1] + slope[1] * p;
            int ix = (int)floorf(x), iy = (int)floorf(y);
            if (ix < -1 || iy < -1 || ix >= n[u] || iy >= n[v]) continue;
            float fx = x - ix, fy = y - iy;
            float *at = volume + p * stride[m] + ix * stride[u] + iy * stride[v];
            int x0 = ix >= 0, x1 = ix + 1 < n[u], y0 = iy >= 0, y1 = iy + 1 < n[v];
            if (x0 && y0) add(at, value * (1 - fx) * (1 - fy));
            if (x1 && y0) add(at + stride[u], value * fx * (1 - fy));
            if (x0 && y1) add(at + stride[v], value * (1 - fx) * fy);
            if (x1 && y1) add(at + stride[u] + stride[v], value * fx * fy);
        }
    }
}
