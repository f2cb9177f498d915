"""Object stores of clouds, for the lanes whose jobs read and write there: one module each, with the same verbs.

put      a file becomes an object, once; an upload that broke off goes on where it was, after a restart too
size     of an object, in bytes
keys     the objects below a prefix, with their sizes
bring    an object becomes a file, whole or not at all
delete   an object goes; one that is not there is no error
"""
