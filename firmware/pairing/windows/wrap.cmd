@echo off
rem Made by {{rem .Server}} for one Windows PC. A double click runs it; below is PowerShell, to be read.
setlocal
set "POSTERN_SELF=%~f0"
powershell.exe -NoLogo -NoProfile -ExecutionPolicy Bypass -Command "& ([ScriptBlock]::Create(([IO.File]::ReadAllText($env:POSTERN_SELF, [Text.Encoding]::UTF8) -split '\r?\n#POSTERN\r?\n', 2)[1])) $env:POSTERN_SELF"
set "POSTERN_RESULT=%ERRORLEVEL%"
pause
exit /b %POSTERN_RESULT%
#POSTERN
