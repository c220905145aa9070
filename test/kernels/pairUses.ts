/**
 * Prints what single vectors take from pairs, in the kernels of some programs: a line of JSON for each kernel that does so, then how
 * many kernels there are. Reads the graphs that V8 writes. To be run with `--single-threaded`; for `pairUses.test.ts`.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { encodeModule, f32x4, FunctionBuilder, markModule, set, v128 } from '../../kernels/wasm/core/assembler.ts'
import type { Code } from '../../kernels/wasm/core/assembler.ts'
import { kernelsOf, opTable, steps } from './compiledKernels.ts'

interface Graph {
  readonly nodes: readonly { readonly id: number; readonly title: string }[]
  readonly edges: readonly { readonly source: number; readonly target: number }[]
}
const folder = mkdtempSync(path.join(tmpdir(), 'langevin-'))

/** V8's graph of a function before it becomes instructions, with the properties of its nodes. */
function graphOf(build: FunctionBuilder, mark: string): { readonly graph: Graph; readonly properties: ReadonlyMap<number, string> } {
  void new WebAssembly.Module(markModule(encodeModule(new Map([['kernel', build]]), { shared: false, maximum: 1 }), mark))
  const text = readFileSync(path.join(folder, 'turbo-wasm-function#0-0.json'), 'utf8')
  const last = text.lastIndexOf('"turboshaft_graph"')
  const phase = (name: string): { readonly data: unknown } => { // One of dozens, of megabytes each.
    const start = text.lastIndexOf('\n{"name"', text.indexOf(`"${name}"`, name === 'turboshaft_graph' ? last : last + 1))
    return JSON.parse(text.slice(start, text.indexOf(',\n{"name"', start + 1))) as { readonly data: unknown }
  }
  const properties = phase('Properties').data as readonly { readonly key: number; readonly value: string }[]
  return { graph: phase('turboshaft_graph').data as Graph, properties: new Map(properties.map(({ key, value }) => [key, value])) }
}

/** What takes the lower half of a pair, but for stores, which read it where it is: the pair's operation and those that use the half. */
function lowerHalves({ graph: { nodes, edges }, properties }: ReturnType<typeof graphOf>): string[] {
  const titles = new Map(nodes.map(({ id, title }) => [id, title]))
  const text = (id: number): string => `${titles.get(id) ?? ''} ${properties.get(id) ?? ''}`
  const halves = nodes.filter(({ id, title }) => title === 'Simd256Extract128Lane' && properties.get(id) === '[0]')
  return halves.flatMap(({ id }) => {
    const users = edges.filter(({ source, target }) => source === id && titles.get(target) !== 'Store').map(({ target }) => text(target))
    const pair = edges.find(({ target }) => target === id)?.source ?? id
    return users.length === 0 ? [] : [`${text(pair)} -> ${users.join(', ')}`]
  })
}

/** A sum in pairs and one alone, of one constant. */
function planted(): FunctionBuilder {
  const f = new FunctionBuilder(['i32'])
  const [at, constant] = [f.parameters[0] ?? f.local('i32'), f.local('v128')]
  const sums = [f.local('v128'), f.local('v128')]
  const plus = (offset: number): Code => f32x4.add(v128.load(at, offset), constant)
  f.emit(set(constant, v128.splatF32(1.5)), sums.map((sum, v) => set(sum, plus(16 * v))), sums.map((sum, v) => v128.store(at, sum, 16 * v)), v128.store(at, f32x4.mul(plus(64), plus(80)), 96))
  return f
}

const builders = process.argv.includes('planted')
  ? new Map([['planted', planted]])
  : new Map([...await kernelsOf(steps), ...await kernelsOf(opTable)].map(([key, kernel]) => [key, () => kernel.build()]))
for (const flag of ['no-liftoff', 'no-wasm-lazy-compilation', 'experimental-wasm-revectorize', 'trace-turbo', `trace-turbo-path=${folder}`, `trace-turbo-cfg-file=${path.join(folder, 'graph.cfg')}`]) setFlagsFromString(`--${flag}`)
let number = 0
for (const [key, build] of builders) {
  const uses = lowerHalves(graphOf(build(), `traced ${number++}`))
  if (uses.length > 0) process.stderr.write(`${JSON.stringify({ key, uses })}\n`)
}
process.stderr.write(`${JSON.stringify({ kernels: builders.size })}\n`)
rmSync(folder, { recursive: true })
