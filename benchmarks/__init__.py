"""Compare twistserve with other servers on one machine: `python -m benchmarks --help`. Needs only Python itself.

| module | holds |
| --- | --- |
| workloads | what is asked of every server |
| projects | the Django projects that are served |
| layouts | cores, workers and threads of a run |
| postgresql | a PostgreSQL server for the workloads that need one |
| servers | the servers and the command line of each |
| environments | a virtual environment for each, filled from the package index |
| processes | the processes of a server: started on a core, CPU time and memory read, ended |
| serving | a server started for a workload, its answer checked against the right one |
| wrk | one run of wrk and what it printed |
| arguments | options that several command lines share |
| staging | programs, databases and cores made ready before a server is driven |
| rounds | interleaved rounds: every server in each, in alternating order |
| ratios | medians of paired ratios |
| idle | the cost of idle keep-alive connections |
| targets | the goals, beside what was measured |
| machine | the machine and the versions |
| report | tables as text and as Markdown |
| threads, plot | rate and p99 by the number of threads, as a table and as an SVG |
| workers | what a second worker brings |
| wagtail | Wagtail's start project: rate, p99, starts, memory |
| probes, probed, container | probes under load, the project that is probed, a container with half a CPU |
| scrapes | what a scrape of the metrics costs |
| starting, reloading | how long a start takes, and a reload |
| autoscale | rules of an autoscaler compared by simulation |

`project/` is the Django project that is served, unless a workload names another; `scripts/` runs in the servers'
environments, and imports none of this.
"""
