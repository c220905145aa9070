/**
 * The JavaScript of the package: one build for Node, one for browsers, picked by the `browser` condition of
 * package.json's `exports`. Within a build the entries share chunks, so `langevin` and `langevin/nn` hold one engine.
 * Types come from `tsc -p tsconfig.build.json`.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { defineConfig } from 'tsup'
import type { Options } from 'tsup'

const library = {
  index: 'engine/index.ts',
  nn: 'nn/index.ts',
  diffusion: 'diffusion/index.ts',
  kernels: 'kernels/index.ts',
  testing: 'testing/index.ts',
}

// Workers are files of their own, without chunks, so that one file is all that a page has to serve.
const workers = { 'cpu-worker': 'engine/device/cpu/worker.ts' }

const built = new Map(Object.entries({ ...library, ...workers }).map(([name, file]) => [path.resolve(file), name]))

type Plugin = NonNullable<Options['esbuildPlugins']>[number]

/** Turns `new URL('./worker.ts', import.meta.url)` into the URL of the built file: every output lies in one folder. */
const sourceUrls: Plugin = {
  name: 'source-urls',
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, async ({ path: file }) => {
      if (file.includes('node_modules')) return undefined
      const source = await readFile(file, 'utf8')
      const contents = source.replaceAll(/new URL\('(\.[^']+\.ts)', import\.meta\.url\)/g, (_, relative: string) => {
        const name = built.get(path.resolve(path.dirname(file), relative))
        if (name === undefined) throw new Error(`${file}: ${relative} is not an entry of tsup.config.ts`)
        return `new URL('./${name}.js', import.meta.url)`
      })
      return { contents, loader: 'ts' }
    })
  },
}

/** What the build includes of other packages keeps its licence, which has to go with every copy. */
const licences: Plugin = {
  name: 'licences',
  setup(build) {
    build.onLoad({ filter: /node_modules\/tinybench\/dist\/index\.js$/ }, async ({ path: file }) => {
      const [source, licence] = await Promise.all([readFile(file, 'utf8'), readFile(path.join(file, '../../LICENSE'), 'utf8')])
      return { contents: `/*! tinybench\n${licence}*/\n${source}`, loader: 'js' }
    })
  },
}

const common: Options = {
  format: 'esm',
  target: 'es2022',
  tsconfig: 'tsconfig.build.json',
  esbuildPlugins: [sourceUrls, licences],
  external: ['webgpu', 'fast-check', /^node:/],
  sourcemap: true,
  dts: false,
  clean: false,
  silent: true,
}

function build(platform: 'node' | 'browser'): Options[] {
  const options: Options = { ...common, platform, outDir: `dist/${platform}` }
  const entry = platform === 'node' ? { ...library, cli: 'cli/main.ts' } : library
  return [
    { ...options, entry, splitting: true },
    { ...options, entry: workers, splitting: false },
  ]
}

const configuration: ReturnType<typeof defineConfig> = defineConfig([...build('node'), ...build('browser')])
export default configuration
