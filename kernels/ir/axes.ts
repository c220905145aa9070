/** The axes of a kernel made fewer: most then run over one or two, whatever their tensors' rank. */

/** The same positions in the same order with fewer axes: drops axes of size 1 and joins neighbours that every operand walks as one. */
export function mergeStrides(sizes: readonly number[], strides: readonly (readonly number[])[]): { sizes: number[]; strides: number[][] } {
  const out = { sizes: [] as number[], strides: strides.map((): number[] => []) }
  sizes.forEach((size, axis) => {
    if (size === 1) return
    const last = out.sizes.length - 1
    const outer = out.sizes[last]
    const joins = outer !== undefined && strides.every((s, o) => out.strides[o]?.[last] === (s[axis] ?? 0) * size)
    if (joins) out.sizes[last] = outer * size
    else out.sizes.push(size)
    strides.forEach((s, o) => {
      const into = out.strides[o]
      if (joins) into?.pop()
      into?.push(s[axis] ?? 0)
    })
  })
  return out
}
