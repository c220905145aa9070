/** Kernels that count their accesses outside of buffers, which a device that checks bounds would hide, and an unchecked one carry out. */
import type { Dispatch } from '../../../kernels/wgsl/core/kernel.ts'

const most = 16
const bytesOf = { f32: 4, i32: 4, u32: 4, f16: 2 } as const

/** For each binding its array's name and the bytes of an element. */
const arraysOf = ({ source }: Dispatch): { readonly name: string; readonly bytes: number }[] =>
  [...source.matchAll(/var<storage, \w+> (\w+): array<(?:atomic<|vec(\d)<)?(f32|i32|u32|f16)>*;/g)].map(([, name = '', lanes = '1', type]) => ({ name, bytes: Number(lanes) * bytesOf[type as keyof typeof bytesOf] }))

/** `code` with every index of an array passed through the function that watches it. */
function watch(code: string, functions: ReadonlyMap<string, string>): string {
  const found = [...code.matchAll(/(?<![\w.])(\w+)\[/g)].find(([, name = '']) => functions.has(name))
  if (found === undefined) return code
  const start = found.index + found[0].length
  let end = start
  for (let depth = 1; depth > 0; end++) depth += code[end] === '[' ? 1 : code[end] === ']' ? -1 : 0
  return `${code.slice(0, start)}${functions.get(found[1] ?? '')}(u32(${watch(code.slice(start, end - 1), functions)}))${watch(code.slice(end - 1), functions)}`
}

const parameters = 'group: vec3<u32>, grid: vec3<u32>, local: u32'
const entry = /(@compute @workgroup_size\(\d+\)\nfn main)\((.+)\) \{/

/**
 * The module of a dispatch, with a buffer of `watchBytes` more, group 1: elements of each binding, then invocations with accesses that
 * lay outside. Without branches but at the end, which drivers take long to compile.
 */
export function watchedSource(dispatch: Dispatch): string {
  const functions = new Map(arraysOf(dispatch).map(({ name }, i) => [name, `inside${i}`]))
  const [, main = '', builtins = ''] = entry.exec(dispatch.source) ?? []
  const each = (line: (i: number) => string): string[] => [...functions.keys()].map((_, i) => line(i))
  return [
    watch(dispatch.source, functions).replace(entry, `fn body(${parameters}) {`),
    `struct Watched { elements: array<u32, ${most}>, strays: array<atomic<u32>, ${most}> }`,
    '@group(1) @binding(0) var<storage, read_write> watched: Watched;',
    ...each((i) => `var<private> stray${i}: bool; fn inside${i}(i: u32) -> u32 { stray${i} = stray${i} | (i >= watched.elements[${i}]); return i; }`),
    `${main}(${builtins}) { body(group, grid, local);`, ...each((i) => `if (stray${i}) { atomicAdd(&watched.strays[${i}], 1u); }`), '}',
  ].join('\n')
}

export const watchBytes: number = 8 * most

/** What that buffer holds at the start, given the bytes of each binding. The last vector, or word, of one is whole, and there is a first: nothing cannot be bound. */
export function watchWords(dispatch: Dispatch, sizes: readonly number[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(2 * most)
  arraysOf(dispatch).forEach(({ bytes }, i) => (words[i] = Math.max(1, Math.ceil((Math.ceil((sizes[i] ?? 0) / 4) * 4) / bytes))))
  return words
}

/** The arrays with accesses outside, as text. */
export const straysOf = (dispatch: Dispatch, words: Uint32Array): string =>
  arraysOf(dispatch).flatMap(({ name }, i) => (words[most + i] === 0 ? [] : [`${words[most + i]} invocations outside of ${name}`])).join(', ')
