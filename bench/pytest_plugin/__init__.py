"""The bench as a pytest plugin: fixtures, markers and rules for a user's own test repository (docs/pytest.md).

plugin        options, markers, the hooks; the only module loaded with every pytest run: it imports nothing heavy
options       the options
capabilities  what a machine must have: a CAN interface, a browser, a broker
features      what a bench has, from its bench file
demands       what a test asks for against what there is: run, skip or fail
run           one pytest run: options, the bench once it is up, why it is broken
interruption  SIGTERM and SIGHUP end a run as Ctrl-C does
workers, roles  pytest-xdist: several workers, one bench
shared_bench  the bench that all tests of a run share, and the states it can be asked for
upkeep        what keeps the bench going between tests
tester        UDS beside the gateway
guard         around each test: evidence, health, verdict
health        after each test: what is tidied, what must be true
evidence      what a failed test leaves
counters      error counters of CAN interfaces
can_log       what was on the bus during one test
handles, uds  what the fixtures give
fixtures      the fixtures
properties, junit  bench, adapters and versions in the JUnit file
"""
