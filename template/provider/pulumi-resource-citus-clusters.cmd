@echo off
"%~dp0..\node_modules\citus-clusters-as-code\provider\pulumi-resource-citus-clusters.cmd" %*
