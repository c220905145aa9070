/**
 * Reductions. A workgroup has some outputs and some invocations to fold each: neighbours fold one output together where the
 * reduced axis is contiguous (rows), have outputs of their own where a kept axis is (columns). Their results meet in a tree in
 * workgroup memory. Few outputs of many elements are cut into parts, which a second dispatch folds. All of that depends on sizes
 * alone. Sums of floats go in three levels of short chains of additions, as a compiler may undo what compensates rounding errors.
 */
import type { Operand, ReduceDescriptor, ReduceOp } from '../../ir/descriptor.ts'
import { axesOf, type Axis, footprint, indexedAxes, isBlank, leadingInput, mergeAxes, prefersColumns, product, sortAxes } from '../../ir/domain.ts'
import { accumulator, load, type ScalarType } from '../../ir/expression.ts'
import { checkAccess, loadsOf, unknownNodes } from '../../ir/nodes.ts'
import { binaryCode, emitExpressions, literal, narrow } from '../core/emit.ts'
import { functionsOf } from '../core/functions.ts'
import type { Dispatch, WgslKernel, WgslTarget } from '../core/kernel.ts'
import { Addresses, bindOperands, type Bound, bytesOf, checkF16, every, indent, leafOf, loadLines, splitPosition, type Use } from '../core/stridedOperands.ts'
import { Shader } from '../core/shader.ts'

const groupSize = 256
const mostElements = 2 ** 31
/** Workgroups that keep any device busy, and elements of one below which a second dispatch costs more than it gains. */
const [wantedGroups, leastElements] = [512, 16384]
/** Elements that one invocation folds: more would make its chains of additions long. */
const mostAtOnce = 4096
const unroll = 4
/** Rounds of an inner chain of additions, and chains that make a block. */
const chain = 8

/** The kernel of a reduction. Operand i lies in buffer `buffers[i]` (by default i), as in `mapKernel`; temporaries come after the last of these. */
export function reduceKernel(d: ReduceDescriptor, target: WgslTarget, buffers: readonly number[] = [...d.inputs, ...d.outputs].map((_, i) => i)): WgslKernel {
  if (d.parts !== undefined) throw new Error('reduce: a kernel of this device cuts a reduction into parts itself: leave `parts` out')
  check(d, target)
  const [outside, inside] = [product(d.shape), product(d.reduced)]
  if (outside * inside > mostElements) throw new RangeError(`reduce: ${outside * inside} elements, of which a kernel can fold ${mostElements}: cut the tensor`)
  const domain = domainOf(d)
  const operations = unknownNodes([d.element], new Map()).filter((e) => e.args.length > 0).length + 1
  const axes = [...domain.kept, ...domain.reduced]
  const cost = { flops: outside * inside * operations, bytes: domain.uses.reduce((sum, use, o) => sum + (use.access === 'none' ? 0 : footprint(axes, o, bytesOf(use.operand.dtype))), 0) }
  if (outside === 0) return { dispatches: [], ...cost }
  const split = splitOf(domain, outside, inside)
  const parts = Math.max(1, Math.ceil(inside / split.length))
  if (parts === 1) return { dispatches: [dispatchOf(d, domain, buffers, split, 1)], ...cost }

  const { type } = d.element
  const temporary = Math.max(...buffers) + 1
  const rowMajor = d.shape.map((_, i) => product(d.shape.slice(i + 1)))
  const whole: ReduceDescriptor['outputs'] = [{ operand: { dtype: type, strides: rowMajor, offset: 0 }, value: accumulator(type) }]
  const first: ReduceDescriptor = { ...d, outputs: whole }
  const second: ReduceDescriptor = {
    ...d, reduced: [parts], element: load(d.inputs.length, type),
    inputs: [...d.inputs.map((o) => atStart(o, d.shape)), { dtype: type, strides: [...rowMajor, outside], offset: 0 }],
  }
  const inputs = buffers.slice(0, d.inputs.length)
  const last = domainOf(second)
  return {
    dispatches: [
      dispatchOf(first, domainOf(first), [...inputs, temporary], split, parts),
      dispatchOf(second, last, [...inputs, temporary, ...buffers.slice(d.inputs.length)], { ...splitOf(last, outside, parts), length: parts }, 1),
    ],
    temporaries: [4 * parts * outside],
    ...cost,
  }
}

function check(d: ReduceDescriptor, target: WgslTarget): void {
  const { type } = d.element
  if (type === 'bool' && (d.op === 'sum' || d.op === 'prod')) throw new TypeError(`reduce: no ${d.op} of bool values; cast to i32 first`)
  for (const e of unknownNodes([d.element, ...d.outputs.map((o) => o.value)], new Map())) {
    if (e.op === 'load') checkAccess('reduce', d.inputs[e.value]?.dtype ?? 'f32', e.type)
    if (e.op === 'accumulator' && e.type !== type) throw new TypeError(`reduce: the accumulator is ${type}, not ${e.type}`)
  }
  for (const o of d.outputs) checkAccess('reduce', o.operand.dtype, o.value.type)
  checkF16('reduce', target, [...d.inputs, ...d.outputs.map((o) => o.operand)].map((o) => o.dtype))
}

/** An input as the outputs' values read it, at reduced position 0, with an axis more along which it stays. */
function atStart(o: Operand, shape: readonly number[]): Operand {
  const strides = [...shape.map((_, axis) => o.strides[axis] ?? 0), 0]
  if (o.mask === undefined) return { dtype: o.dtype, strides, offset: o.offset }
  const exists = o.mask.slice(shape.length).every(([lo, hi]) => lo <= 0 && hi > 0)
  return { dtype: o.dtype, strides, offset: o.offset, mask: [...o.mask.slice(0, shape.length), [0, exists ? Infinity : 0]] }
}

interface Domain {
  readonly kept: readonly Axis[]
  readonly reduced: readonly Axis[]
  readonly uses: readonly Use[]
  readonly columns: boolean
}

function domainOf(d: ReduceDescriptor): Domain {
  const values = d.outputs.map((o) => o.value)
  const [inElement, all] = [loadsOf([d.element]), loadsOf([d.element, ...values])]
  const full = [...d.shape, ...d.reduced]
  const uses = [...d.inputs, ...d.outputs.map((o) => o.operand)].map((operand, o): Use => {
    const access = o >= d.inputs.length ? 'write' : all.has(o) && !isBlank(operand, full) ? 'read' : 'none'
    // What is not accessed must not keep axes from merging.
    return { operand: access === 'none' ? { dtype: operand.dtype, strides: full.map(() => 0), offset: 0 } : operand, access, quads: false }
  })
  const operands = uses.map((use) => use.operand)
  const indexed = indexedAxes([d.element, ...values])
  const leading = leadingInput(operands.slice(0, d.inputs.length), inElement) ?? d.inputs.length
  const kept = mergeAxes(sortAxes(axesOf(d.shape, 0, operands, indexed), leading))
  const reduced = mergeAxes(sortAxes(axesOf(d.reduced, d.shape.length, operands, indexed), leading))
  return { kept, reduced, uses, columns: prefersColumns(kept.at(-1), reduced.at(-1), inElement) }
}

/** How a workgroup's invocations share the work: `outputs` times `folding` of them. */
interface Split {
  readonly outputs: number
  readonly folding: number
  /** Elements of a fold that one workgroup has. */
  readonly length: number
}

function splitOf({ columns }: Domain, outside: number, inside: number): Split {
  const outputs = columns ? columnsAtOnce(outside, inside) : groupSize / invocationsOfRow(outside, inside)
  const folding = groupSize / outputs
  const groups = Math.ceil(outside / outputs)
  const forDevice = Math.min(Math.ceil(wantedGroups / groups), Math.floor((inside * Math.min(outputs, outside)) / leastElements))
  const parts = Math.max(1, forDevice, Math.ceil(inside / (folding * mostAtOnce)))
  return { outputs, folding, length: Math.max(1, Math.ceil(inside / parts / unroll)) * unroll }
}

function invocationsOfRow(rows: number, length: number): number {
  if (length >= 2048 || (length >= 256 && rows <= 256)) return 256
  return length >= 128 ? 32 : 8
}

function columnsAtOnce(columns: number, length: number): number {
  if (length < 32 || columns >= 65536) return 256
  if (columns > 16) return 32
  return columns > 4 ? 16 : 4
}

const foldOps = { sum: 'add', prod: 'mul', max: 'max', min: 'min' } as const

function identity(op: ReduceOp, type: ScalarType): string {
  if (op === 'sum' || op === 'prod') return literal(op === 'sum' ? 0 : 1, type)
  const [low, high] = type === 'f32' ? [-Infinity, Infinity] : type === 'i32' ? [-2147483648, 2147483647] : [0, type === 'bool' ? 1 : 4294967295]
  return literal(op === 'max' ? low : high, type)
}

function dispatchOf(d: ReduceDescriptor, { kept, reduced, uses, columns }: Domain, buffers: readonly number[], split: Split, parts: number): Dispatch {
  const shader = new Shader('reduce')
  const bound = bindOperands('reduce', shader, uses, buffers, new Set())
  const [outside, inside] = [product(d.shape), product(d.reduced)]
  const groups = Math.ceil(outside / split.outputs)
  const [outsideSize, insideSize, length, groupsOfPart] = [shader.parameter('outside', outside), shader.parameter('inside', inside), shader.parameter('length', split.length), shader.parameter('groups', groups)]
  const { type } = d.element
  const fold = binaryCode(foldOps[d.op], type)

  const outputPosition = splitPosition(shader, 'output', kept, 'k')
  const keptAddresses = new Addresses(shader, 'k')
  const base = uses.map((use, o) => (bound[o] === undefined ? '' : `${keptAddresses.offset(o, use.operand)} + ${keptAddresses.along(o, kept, outputPosition.names)}`))
  const thing = { d, uses, bound, kept, reduced, keptNames: outputPosition.names }
  const element = elementFunction(shader, thing, (o) => base[o] ?? '', (o) => keptAddresses.exists(o, kept, outputPosition.names))

  // The outputs' values read the inputs at reduced position 0.
  const values = d.outputs.map((o) => o.value)
  const read = [...loadsOf(values)].filter((o) => bound[o] !== undefined && reduced.every((axis) => (axis.ranges[o]?.[0] ?? 0) === 0))
  const loads = read.flatMap((o) => loadLines(`y${o}`, `${bound[o]?.array}[${base[o]}]`, bound[o]?.held ?? 'f32', keptAddresses.exists(o, kept, outputPosition.names)))
  const { lines, values: results } = emitExpressions(values, (e) => (e.op === 'accumulator' ? 'total' : leafOf('reduce', e, thing, kept, outputPosition.names, (o) => (read.includes(o) ? `y${o}` : undefined))))
  const start = parts > 1 ? `(part * ${outsideSize}) + ` : ''
  const stores = d.outputs.map(({ operand, value }, i) => {
    const o = d.inputs.length + i
    const { array, held } = bound[o] ?? { array: '', held: 'f32' as const }
    return `${array}[${start}${base[o]}] = ${narrow(results[i] ?? '', value.type, operand.dtype, held)};`
  })

  const { outputs, folding } = split
  const [across, along, step] = columns ? [`local % ${outputs}u`, `local / ${outputs}u`, outputs] : [`local / ${folding}u`, `local % ${folding}u`, 1]
  const main = [
    `let part = workgroup / ${groupsOfPart};`,
    `let output = (workgroup - part * ${groupsOfPart}) * ${outputs}u + ${across};`,
    `let along = ${along};`,
    `let mine = output < ${outsideSize} && part < ${shader.parameter('parts', parts)};`,
    ...outputPosition.lines, ...keptAddresses.lines,
    `let end = select(0u, min(${insideSize}, (part + 1u) * ${length}), mine);`,
    `${folding > 1 ? 'var' : 'let'} total = foldFrom(part * ${length} + along, end${element.arguments.map((text) => `, ${text}`).join('')});`,
    ...(folding > 1 ? treeLines(folding, step, fold) : []),
    `if (mine && along == 0u) {`,
    indent([...loads, ...lines, ...stores]),
    `}`,
  ]
  const code = [...(folding > 1 ? [`var<workgroup> partial: array<${type}, ${groupSize}>;`] : []), element.code, foldFunction(type, identity(d.op, type), folding, fold, element)].join('\n')
  const body = indent(main)
  return shader.dispatch({ code: `${functionsOf(code + body)}\n${code}`, body, size: groupSize, groups: groups * parts })
}

/** Halves the number of partial results until one is left. */
function treeLines(folding: number, step: number, fold: (x: string, y: string) => string): string[] {
  return [
    'partial[local] = total;',
    `for (var distance = ${folding / 2}u; distance > 0u; distance >>= 1u) {`,
    '  workgroupBarrier();',
    `  if (along < distance) {`,
    `    total = ${fold('total', `partial[local + distance * ${step}u]`)};`,
    '    partial[local] = total;',
    '  }',
    '}',
  ]
}

interface Thing {
  readonly d: ReduceDescriptor
  readonly uses: readonly Use[]
  readonly bound: readonly (Bound | undefined)[]
  readonly kept: readonly Axis[]
  readonly reduced: readonly Axis[]
  readonly keptNames: readonly string[]
}

interface ElementFunction {
  readonly code: string
  /** What it takes besides the reduced position: names with types, and what they are in `main`. */
  readonly parameters: readonly string[]
  readonly names: readonly string[]
  readonly arguments: readonly string[]
}

/** The function that computes the element at a reduced position. */
function elementFunction(shader: Shader, thing: Thing, base: (o: number) => string, exists: (o: number) => string | undefined): ElementFunction {
  const { d, bound, kept, reduced, keptNames } = thing
  const passed: { name: string; type: string; value: string }[] = []
  const pass = (name: string, type: string, value: string): string => {
    passed.push({ name, type, value })
    return name
  }
  const { lines, names } = splitPosition(shader, 'position', reduced, 'r')
  const addresses = new Addresses(shader, 'r')
  const loads: string[] = []
  const read = [...loadsOf([d.element])].filter((o) => bound[o] !== undefined)
  for (const o of read) {
    const { array, held } = bound[o] ?? { array: '', held: 'f32' as const }
    const outer = exists(o)
    const conditions = [...(outer === undefined ? [] : [pass(`exists${o}`, 'bool', outer)]), addresses.exists(o, reduced, names) ?? []].flat()
    loads.push(...loadLines(`x${o}`, `${array}[${pass(`base${o}`, 'u32', base(o))} + ${addresses.along(o, reduced, names)}]`, held, conditions.length === 0 ? undefined : every(conditions)))
  }
  const indexed = indexedAxes([d.element])
  kept.forEach((axis, a) => {
    if (axis.index !== undefined && indexed.has(axis.index)) pass(keptNames[a] ?? '', 'u32', keptNames[a] ?? '')
  })
  const { lines: computing, values: [result = ''] } = emitExpressions([d.element], (e) => leafOf('reduce', e, thing, [...kept, ...reduced], [...keptNames, ...names], (o) => (read.includes(o) ? `x${o}` : undefined)))
  const parameters = passed.map(({ name, type }) => `${name}: ${type}`)
  const code = `fn element(${['position: u32', ...parameters].join(', ')}) -> ${d.element.type} {\n${indent([...lines, ...addresses.lines, ...loads, ...computing, `return ${result};`])}\n}`
  return { code, parameters, names: passed.map(({ name }) => name), arguments: passed.map(({ value }) => value) }
}

/** The fold of every `folding`th element from `first` on. */
function foldFunction(type: ScalarType, start: string, folding: number, fold: (x: string, y: string) => string, { parameters, names }: ElementFunction): string {
  const element = (k: number): string => `element(${[k === 0 ? 'position' : `position + ${k * folding}u`, ...names].join(', ')})`
  const ahead = `position + ${(unroll - 1) * folding}u < end`
  const chains = ['a', 'b', 'c', 'd']
  return `fn foldFrom(first: u32, end: u32${parameters.map((p) => `, ${p}`).join('')}) -> ${type} {
  var position = first;
  var total = ${start};
  while (position < end) {
    var block = ${start};
    for (var j = 0u; j < ${chain}u && position < end; j++) {
${chains.map((name) => `      var ${name} = ${start};`).join('\n')}
      for (var i = 0u; i < ${chain}u && ${ahead}; i++) {
${chains.map((name, k) => `        ${name} = ${fold(name, element(k))};`).join('\n')}
        position += ${unroll * folding}u;
      }
      if (!(${ahead})) {
        while (position < end) {
          a = ${fold('a', element(0))};
          position += ${folding}u;
        }
      }
      block = ${fold('block', `(${fold(`(${fold('a', 'b')})`, `(${fold('c', 'd')})`)})`)};
    }
    total = ${fold('total', 'block')};
  }
  return total;
}`
}
