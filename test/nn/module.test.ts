/** Modules: names of a state dict, paths of ops, loading with every misfit reported at once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CheckpointError, RandomGenerator, device as openDevice, realize, tensor, variable } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike, Variable } from '../../engine/index.ts'
import { Linear } from '../../nn/linear.ts'
import { loadVariables, readVariables } from '../../nn/checkpoint/load.ts'
import { Module, namedParameters } from '../../nn/module.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('cpu')
})
afterAll(async () => device.close())

class Inner extends Module<[TensorLike], Tensor> {
  readonly to_out: readonly [Linear]
  readonly table: Variable
  readonly absent: Linear | undefined = undefined

  constructor() {
    super()
    const options = { device, generator: new RandomGenerator(1) }
    this.to_out = [new Linear(2, 2, options)]
    this.table = variable(tensor([1, 2], null, { device }), { trainable: false })
  }

  forward(x: TensorLike): Tensor {
    return this.to_out[0].call(x)
  }
}

class Outer extends Module<[TensorLike], Tensor> {
  readonly first: Linear
  readonly blocks: readonly Inner[]
  readonly scales: readonly Variable[]
  readonly size = 3

  constructor() {
    super()
    this.first = new Linear(3, 2, { device, generator: new RandomGenerator(0) })
    this.blocks = [new Inner(), new Inner()]
    this.scales = [variable(tensor([1], null, { device }))]
  }

  forward(x: TensorLike): Tensor {
    return this.blocks.reduce((h, block) => block.call(h), this.first.call(x))
  }
}

test('names are fields, joined by dots, in the order of the fields', () => {
  const model = new Outer()
  expect(Object.keys(model.stateDict())).toEqual([
    'first.weight', 'first.bias',
    'blocks.0.to_out.0.weight', 'blocks.0.to_out.0.bias', 'blocks.0.table',
    'blocks.1.to_out.0.weight', 'blocks.1.to_out.0.bias', 'blocks.1.table',
    'scales.0',
  ])
  expect(Object.keys(namedParameters(model))).not.toContain('blocks.0.table')
})

test('ops carry the path of the module that made them', () => {
  expect(new Outer().call(tensor([[1, 2, 3]], null, { device })).node.path).toBe('blocks.1.to_out.0')
})

describe('loading', () => {
  test('gives the values that were read', async () => {
    const [from, to] = [new Linear(3, 2, { device, generator: new RandomGenerator(1) }), new Linear(3, 2, { device, generator: new RandomGenerator(2) })]
    loadVariables(to.stateDict(), await readVariables(from.stateDict(), 'model.'), { prefix: 'model.' })
    await realize(...Object.values(to.stateDict()))
    expect(await to.weight.data()).toEqual(await from.weight.data())
  })

  test('names everything missing, unexpected and mis-shaped at once, and loads nothing', async () => {
    const model = new Linear(3, 2, { device, generator: new RandomGenerator(1) })
    const before = await model.bias?.data()
    const values = new Map([
      ['bias', { dtype: 'f32', shape: [3], data: new Float32Array(3) }],
      ['old.bias', { dtype: 'f32', shape: [2], data: new Float32Array(2) }],
    ] as const)
    expect(() => loadVariables(model.stateDict(), values, { source: 'model.safetensors' })).toThrow(CheckpointError)
    expect(() => loadVariables(model.stateDict(), values, { source: 'model.safetensors' })).toThrow(
      'model.safetensors does not fit the model. missing: weight. unexpected: old.bias. of another shape or type: bias is f32 [3] but the model has f32 [2]. Load it into the model it was saved from',
    )
    expect(await model.bias?.data()).toEqual(before)
    // What to do tells of an option, unless the caller knows it.
    values.delete('bias')
    expect(() => loadVariables(model.stateDict(), values)).toThrow(/, or pass \{ strict: false \} to load what fits$/)
    expect(() => loadVariables(model.stateDict(), values, { strict: true })).toThrow(/Load it into the model it was saved from$/)
  })

  test('an integer tensor does not fit a float', () => {
    const model = new Linear(1, 1, { device, generator: new RandomGenerator(1) })
    const values = new Map([['bias', { dtype: 'i32', shape: [1], data: new Int32Array(1) }]] as const)
    expect(() => loadVariables(model.stateDict(), values, { strict: false })).toThrow('bias is i32 [1] but the model has f32 [1]')
  })
})
