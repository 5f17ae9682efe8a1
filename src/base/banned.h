// Calls nobody may write: they cannot be told how much room there is, or share one static answer
// between threads. A .c file includes this as its last header (system headers may still mention the
// names), then using one is an error.
#pragma once

#pragma GCC poison strcpy strcat stpcpy sprintf vsprintf gets strtok
#pragma GCC poison gmtime localtime ctime asctime strerror inet_ntoa inet_addr gethostbyname
#pragma GCC poison atoi atol atoll
