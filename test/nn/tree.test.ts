/** Trees of modules: buffers, variables and modules in two places, freezing, train and eval, substitution, paths, meta. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UNet2D } from '../../diffusion/unet.ts'
import type { UNet2DConfig } from '../../diffusion/unet-config.ts'
import { ConfigError, DeviceError, ShapeError, device as openDevice, grad, metaDevice, mul, ones, realize, sum, tensor, variable, withDefaultDevice, zeros } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike, Variable } from '../../engine/index.ts'
import { Sequential } from '../../nn/container.ts'
import { Linear } from '../../nn/linear.ts'
import { Buffer, Module, freeze, namedBuffers, namedModules, namedParameters, parameterCount, replaceModules, unfreeze } from '../../nn/module.ts'

let device: Device
beforeAll(async () => {
  device = await openDevice('reference')
})
afterAll(async () => device.close())

const point = (): Tensor => tensor([[1, 2]])

/** Two layers in a nested array, a weight that is the first one's, and two buffers. */
class Tied extends Module<[TensorLike], Tensor> {
  readonly blocks: readonly (readonly Linear[])[]
  readonly head: Variable
  readonly count: Buffer
  readonly cache: Buffer
  readonly sizes: readonly number[] = [1, 2]
  readonly note = 'not a parameter'

  constructor() {
    super()
    const first = new Linear(2, 2)
    this.blocks = [[first, new Linear(2, 2, { bias: false })]]
    this.head = first.weight
    this.count = new Buffer(zeros([3]))
    this.cache = new Buffer(zeros([4]), { persistent: false })
  }

  forward(x: TensorLike): Tensor {
    return mul(this.blocks.flat().reduce((h: TensorLike, layer) => layer.call(h), x), sum(this.head))
  }
}

describe('variables', () => {
  test('a tied weight has both names in the state dict, and is listed and counted once', () => {
    const model = new Tied()
    expect(Object.keys(model.stateDict())).toEqual(['blocks.0.0.weight', 'blocks.0.0.bias', 'blocks.0.1.weight', 'head', 'count'])
    expect(model.stateDict()['head']).toBe(model.stateDict()['blocks.0.0.weight'])
    expect(Object.keys(namedParameters(model))).toEqual(['blocks.0.0.weight', 'blocks.0.0.bias', 'blocks.0.1.weight'])
    expect(parameterCount(model)).toBe(4 + 2 + 4)
  })

  test('the gradient of a tied weight is that of both places', async () => {
    const model = new Tied()
    const { weight } = namedModules(model).get('blocks.0.0') as Linear
    const x = ones([2, 2])
    const together = await grad(sum(model.call(x)), weight).data()
    const copy = variable(tensor(await weight.data(), [2, 2]))
    Reflect.set(model, 'head', copy)
    const apart = grad(sum(model.call(x)), [weight, copy])
    const sums = await Promise.all(apart.map(async (g) => g.data()))
    together.forEach((g, i) => expect(g).toBeCloseTo((sums[0]?.[i] ?? Number.NaN) + (sums[1]?.[i] ?? Number.NaN), 6))
  })

  test('buffers are not parameters, and are saved unless they say otherwise', () => {
    const model = new Tied()
    expect(Object.keys(namedBuffers(model))).toEqual(['count', 'cache'])
    expect(Object.keys(model.stateDict())).not.toContain('cache')
  })

  test('freezing a subtree takes its parameters out of training, and leaves buffers as they are', () => {
    const model = new Tied()
    freeze(model)
    expect([Object.keys(namedParameters(model)), parameterCount(model, { trainable: true }), parameterCount(model, { trainable: false })]).toEqual([[], 0, 10])
    unfreeze(namedModules(model).get('blocks.0.1') as Module)
    expect(Object.keys(namedParameters(model))).toEqual(['blocks.0.1.weight'])
    unfreeze(model)
    expect(Object.keys(namedParameters(model))).toHaveLength(3)
    expect(Object.values(namedBuffers(model)).some((b) => b.trainable)).toBe(false)
  })
})

describe('modules', () => {
  test('train and eval set the whole tree', () => {
    const model = new Tied()
    const states = (): boolean[] => [...namedModules(model).values()].map((m) => m.training)
    expect([states(), model.eval() === model && states(), model.train() === model && states()]).toEqual([[true, true, true], [false, false, false], [true, true, true]])
  })

  test('are listed once each under their paths, outer ones first', () => {
    const model = new Shared()
    expect([...namedModules(model).keys()]).toEqual(['', 'inner', 'inner.layer', 'last'])
    expect(namedModules(model).get('inner.layer')).toBe(model.again)
  })

  test('in two places, give their ops the path of the place they are called from', () => {
    const y = new Shared().call(point())
    expect(pathsOf(y)).toEqual(['last', 'again', 'inner.layer', 'again'])
  })

  test('that a module has twice go by the first name, as long as they are there', () => {
    class Twice extends Module<[TensorLike], Tensor> {
      readonly first: Linear = new Linear(2, 2)
      readonly second: Linear = this.first

      forward(x: TensorLike): Tensor {
        return this.second.call(x)
      }
    }
    const model = new Twice()
    expect([pathsOf(model.call(point())), [...namedModules(model).keys()]]).toEqual([['first'], ['', 'first']])
    Reflect.set(model, 'first', new Linear(2, 2))
    expect(pathsOf(model.call(point()))).toEqual(['second'])
  })

  test('called by themselves, have no path', () => {
    const model = new Shared()
    model.call(point())
    expect(pathsOf(model.inner.layer.call(point()))).toEqual([''])
  })

  test('have their names back after a call that throws', () => {
    const model = new Shared()
    expect(() => model.call(zeros([1, 3]))).toThrow('linear: x has 3 features')
    expect(pathsOf(model.last.call(point()))).toEqual([''])
  })
})

describe('an error', () => {
  const failure = (act: () => unknown): Error => {
    try {
      act()
    } catch (error) {
      if (error instanceof Error) return error
    }
    throw new RangeError('nothing was thrown')
  }

  test("of the engine's names the innermost module, once, in the message and in what is printed", () => {
    const model = new Sequential(new Linear(2, 2), new Inner(new Inner(new Linear(3, 2))))
    const error = failure(() => model.call(point()))
    expect(error).toBeInstanceOf(ShapeError)
    expect(error.message).toMatch(/^1\.layer\.layer: linear: x has 2 features/)
    expect(error.stack?.split('\n')[0]).toMatch(/: 1\.layer\.layer: linear: x has 2 features/)
    expect(error.stack).toContain('linear.ts') // Where it was thrown.
  })

  test('of a module called by itself stays as it is, and keeps its cause', () => {
    expect(failure(() => new Linear(3, 2).call(point())).message).toMatch(/^linear: /)
    const cause = new RangeError('why')
    class Failing extends Module<[TensorLike], Tensor> {
      forward(): Tensor {
        throw new ConfigError('no', { cause })
      }
    }
    const error = failure(() => new Inner(new Failing()).call(point()))
    expect([error.message, error.cause]).toEqual(['layer: no', cause])
  })

  test('thrown again under another module, or of another kind, stays as it is', () => {
    const known = new ConfigError('known')
    class Failing extends Module<[TensorLike], Tensor> {
      readonly error: Error
      constructor(error: Error) {
        super()
        this.error = error
      }
      forward(): Tensor {
        throw this.error
      }
    }
    for (const model of [new Inner(new Failing(known)), new Sequential(new Failing(known))]) expect(() => model.call(point())).toThrow(known)
    expect(known.message).toBe('layer: known')
    expect(failure(() => new Inner(new Failing(new RangeError('mine'))).call(point())).message).toBe('mine')
  })
})

describe('fields', () => {
  class Holder extends Module<[TensorLike], Tensor> {
    readonly blocks: Record<string, Linear> = { first: new Linear(2, 2, { bias: false }), second: new Linear(2, 2, { bias: false }) }
    readonly options: { readonly scales: readonly Variable[]; self?: object } = { scales: [variable(ones([1]))] }

    constructor() {
      super()
      this.options.self = this.options
    }

    forward(x: TensorLike): Tensor {
      return Object.values(this.blocks).reduce((h: Tensor, block) => block.call(h), mul(x, 1))
    }
  }

  test('of plain objects count like those of the module, ones that hold themselves too', () => {
    const model = new Holder()
    expect(Object.keys(model.stateDict('net.'))).toEqual(['net.blocks.first.weight', 'net.blocks.second.weight', 'net.options.scales.0'])
    expect([...namedModules(model).keys()]).toEqual(['', 'blocks.first', 'blocks.second'])
    expect(pathsOf(model.call(point())).slice(0, 2)).toEqual(['blocks.second', 'blocks.first'])
    expect(replaceModules(model, (module) => new Residual(module as Linear))).toEqual(['blocks.first', 'blocks.second'])
    expect(Object.keys(model.stateDict())[0]).toBe('blocks.first.base.weight')
  })

  test('that lead back to a module around are passed by', () => {
    class Child extends Module<[TensorLike], Tensor> {
      readonly layer = new Linear(2, 2)
      parent: Module | undefined
      forward(x: TensorLike): Tensor {
        return this.layer.call(x)
      }
    }
    const child = new Child()
    const model = new Sequential(child)
    child.parent = model
    expect(Object.keys(model.stateDict())).toEqual(['0.layer.weight', '0.layer.bias'])
    const asked: string[] = []
    replaceModules(model, (_, path) => void asked.push(path))
    expect(asked).toEqual(['0', '0.layer'])
  })

  test('of modules inside may be named by where those are, for groups of parameters', () => {
    const model = new Inner(new Linear(2, 2))
    expect(Object.keys(namedParameters(model.layer, 'layer.'))).toEqual(Object.keys(namedParameters(model)))
  })
})

class Inner extends Module<[TensorLike], Tensor> {
  readonly layer: Module<[TensorLike], Tensor>

  constructor(layer: Module<[TensorLike], Tensor>) {
    super()
    this.layer = layer
  }

  forward(x: TensorLike): Tensor {
    return this.layer.call(x)
  }
}

/** One layer inside another module and beside it, called on both sides. */
class Shared extends Module<[TensorLike], Tensor> {
  readonly inner: Inner
  readonly again: Linear
  readonly last: Linear = new Linear(2, 2)

  constructor() {
    super()
    this.again = new Linear(2, 2)
    this.inner = new Inner(this.again)
  }

  forward(x: TensorLike): Tensor {
    return this.last.call(this.again.call(this.inner.call(this.again.call(x))))
  }
}

/** The paths of the layers that x went through, from the last one back. */
function pathsOf({ node, leaf }: Tensor): string[] {
  const [x] = node.inputs
  const rest = x === undefined ? [] : pathsOf(x)
  return leaf !== undefined || rest[0] === node.path ? rest : [node.path, ...rest]
}

/** y = layer(x) + x, in the place of the layer. */
class Residual extends Module<[TensorLike], Tensor> {
  readonly base: Module<[TensorLike], Tensor>

  constructor(base: Module<[TensorLike], Tensor>) {
    super()
    this.base = base
  }

  forward(x: TensorLike): Tensor {
    return this.base.call(x).add(x)
  }
}

describe('substitution', () => {
  test('by predicate, in fields and arrays, with a module that holds the one it replaces', () => {
    const model = new Tied()
    const seen: string[] = []
    const replaced = replaceModules(model, (module, path) => {
      seen.push(path)
      return module instanceof Linear ? new Residual(module) : undefined
    })
    expect([seen, replaced]).toEqual([['blocks.0.0', 'blocks.0.1'], ['blocks.0.0', 'blocks.0.1']])
    expect(Object.keys(model.stateDict())).toEqual(['blocks.0.0.base.weight', 'blocks.0.0.base.bias', 'blocks.0.1.base.weight', 'head', 'count'])
    expect(pathsOf(model.call(point()))).toContain('blocks.0.1.base')
  })

  test('by path, and again after a call', async () => {
    const model = new Shared()
    await model.call(point()).data()
    expect(replaceModules(model, (module, path) => (path === 'last' ? new Residual(module as Linear) : undefined))).toEqual(['last'])
    expect(pathsOf(model.call(point())).slice(0, 2)).toEqual(['last', 'last.base'])
  })

  test('of a module in two places, which stays one', () => {
    const model = new Shared()
    let asked = 0
    const replaced = replaceModules(model, (module) => {
      if (module !== model.again) return undefined
      asked++
      return new Residual(module as Linear)
    })
    expect([asked, replaced]).toEqual([1, ['inner.layer', 'again']])
    expect(model.again).toBe(model.inner.layer)
    expect(model.again).toBeInstanceOf(Residual)
  })

  test('inside a module in two places happens once', () => {
    const inner = new Inner(new Linear(2, 2))
    const model = new Sequential(inner, inner)
    expect(replaceModules(model, (module) => (module instanceof Linear ? new Residual(module) : undefined))).toEqual(['0.layer'])
    expect(Object.keys(model.stateDict())).toEqual(['0.layer.base.weight', '0.layer.base.bias', '1.layer.base.weight', '1.layer.base.bias'])
  })

  test('in a frozen array is an error', () => {
    class Frozen extends Module<[TensorLike], TensorLike> {
      readonly layers: readonly Linear[] = Object.freeze([new Linear(1, 1)])
      forward(x: TensorLike): TensorLike {
        return x
      }
    }
    const replace = (): unknown => replaceModules(new Frozen(), () => new Linear(1, 1))
    expect(replace).toThrow(ConfigError)
    expect(replace).toThrow('replaceModules: layers.0 is in a frozen object or array, so nothing can take its place; leave that unfrozen')
  })
})

describe('on the meta device', () => {
  const stableDiffusion: UNet2DConfig = {
    sample_size: 64, in_channels: 4, out_channels: 4, block_out_channels: [320, 640, 1280, 1280], layers_per_block: 2, norm_num_groups: 32,
    down_block_types: ['AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D'], attention_head_dim: 8,
  }

  test('a model of any size has its names and shapes at once', async () => {
    const meta = metaDevice()
    const start = performance.now()
    const model = withDefaultDevice(meta, () => new UNet2D(stableDiffusion))
    expect(performance.now() - start).toBeLessThan(1000)
    expect(parameterCount(model)).toBeGreaterThan(4e8)
    expect(model.call(zeros([1, 4, 64, 64], { device: meta }), zeros([1], { device: meta })).shape).toEqual([1, 4, 64, 64])
    await expect(realize(model.conv_in.weight)).rejects.toThrow(DeviceError)
  })

  test('three billion parameters take no memory', () => {
    const before = process.memoryUsage()
    const start = performance.now()
    const wide = Array.from({ length: 180 }, () => new Linear(4096, 4096, { device: metaDevice() }))
    expect(wide.reduce((n, layer) => n + parameterCount(layer), 0)).toBeGreaterThan(3e9)
    const after = process.memoryUsage()
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(5e7)
    expect(performance.now() - start).toBeLessThan(1000)
  })
})

test('without a device, a layer says what is missing', async () => {
  await using other = await openDevice('reference', { makeDefault: false })
  expect(() => withDefaultDevice(undefined as unknown as Device, () => new Linear(1, 1))).toThrow('there is no default device yet; call "await device()" first, or pass { device }')
  expect(new Linear(1, 1, { device: other }).weight.device).toBe(other)
})
