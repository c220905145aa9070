/**
 * Node; WebGPU in Node, over two software drivers; and Chromium's page, with and without cross-origin isolation (shared
 * memory needs it).
 */
import { availableParallelism } from 'node:os'
import { playwright } from '@vitest/browser-playwright'
import { defineConfig } from 'vitest/config'
import type { TestProjectConfiguration, ViteUserConfig } from 'vitest/config'
import type { DeviceKind } from './engine/device/backend.ts'
import * as chromium from './scripts/chromium.ts'
import { drivers, environment, remedies } from './scripts/drivers.ts'
import type { Driver } from './scripts/drivers.ts'

const browserTests = ['test/browser/**/*.test.ts']
const deviceTests = ['test/webgpu/**/*.test.ts']
/** Of the WebGPU device in a page: once, as whether pages share memory is nothing to a GPU. */
const pageDeviceTests = ['test/browser/webgpu-*.test.ts']
/** Suites of every device that a page can run, too. */
const pageTests = ['test/semantics.test.ts', 'test/failures.test.ts', 'test/engine/plans.test.ts']
/** In a page they take half an hour. */
const oracleTests = ['test/oracles.test.ts', 'test/training/*.test.ts']
/** Suites of every device, which run on a GPU, too. */
const sharedTests = [...pageTests, 'test/engine/write.test.ts', 'test/errors.test.ts', 'test/graphs.test.ts', 'test/draws.test.ts', ...oracleTests]
/** Those that add few kernels of other kinds. */
const furtherTests = ['test/diffusion/sample.test.ts', 'test/testing.test.ts', 'test/ops/{edges,empty}.test.ts', 'test/nn/{checkpoint,modules,recompute,save,text-encoders}.test.ts']
/** Software GPUs compile a second for each kernel. With WEBGPU=all, each runs everything, for an hour or so. */
const thorough = process.env['WEBGPU'] === 'all'
const quickTests = ['test/draws.test.ts', 'test/webgpu/adapter.test.ts', 'test/webgpu/devices.test.ts', 'test/webgpu/failures.test.ts']
const kernelTests = ['test/kernels/wgsl/**/*.test.ts']
const usualTests = [...deviceTests, ...sharedTests, ...kernelTests]

const node: TestProjectConfiguration = {
  test: { name: 'node', include: ['test/**/*.test.ts'], exclude: [...browserTests, ...deviceTests, ...kernelTests], testTimeout: 30_000, provide: { devices: ['reference', 'cpu'] } },
}

function webgpu(driver: Driver): TestProjectConfiguration {
  const name = `webgpu-${driver}`
  const include = thorough ? [...usualTests, ...furtherTests] : driver === 'lavapipe' ? usualTests : quickTests
  const env = environment(driver)
  if (env === undefined) return missing(name, include, `${driver} is missing. ${remedies[driver]}`)
  return {
    test: {
      name,
      include,
      testTimeout: thorough ? 1_800_000 : 300_000,
      provide: { driver, devices: ['webgpu'], thorough },
      // The loader and the drivers read it when they are loaded; a fork starts with it.
      pool: 'forks',
      env: { ...env },
      // Drivers bring threads, but nearly all their time they compile, on one. In a group of its own, as they take all there is.
      maxWorkers: availableParallelism(),
      sequence: { groupOrder: 1 },
    },
  }
}

function browser(isolated: boolean): TestProjectConfiguration {
  const name = isolated ? 'browser-isolated' : 'browser'
  const include = isolated ? [...browserTests, ...pageTests, ...(thorough ? oracleTests : [])] : browserTests
  const { executablePath } = chromium
  if (executablePath === undefined) return missing(name, include, 'Chromium is missing. Install chromium, or set CHROMIUM to its path.')
  return {
    server: { headers: isolated ? { ...chromium.isolation } : {} },
    // Found only while a test runs, it would make Vite reload the page under the test.
    optimizeDeps: { include: ['fast-check', 'tinybench'] },
    test: {
      name,
      include,
      exclude: isolated ? [] : pageDeviceTests,
      testTimeout: thorough ? 1_800_000 : 60_000,
      provide: { isolated, thorough, devices: ['webgpu'] },
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions: { executablePath, args: [...chromium.args, '--use-webgpu-adapter=swiftshader'] } }),
        instances: [{ browser: 'chromium' }],
      },
    },
  }
}

/** Stands in for a project and lists its tests as skipped, so that they are missed and counted. */
function missing(name: string, tests: string[], why: string): TestProjectConfiguration {
  console.warn(`\n${name}: every test in ${tests.join(' and ')} is SKIPPED. ${why}\n`)
  return { test: { name, include: ['test/missing.ts'], provide: { missing: tests } } }
}

const configuration: ViteUserConfig = defineConfig({
  test: { projects: [node, ...drivers.map(webgpu), browser(false), browser(true)] },
})
export default configuration

declare module 'vitest' {
  interface ProvidedContext {
    isolated: boolean
    /** Whether suites that take long are to run. */
    thorough: boolean
    driver: Driver
    /** The devices that the project's suites run on. */
    devices: readonly DeviceKind[]
    missing: readonly string[]
  }
}
